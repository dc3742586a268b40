// Launches attn_append.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/attn_append.h"

namespace regard::gpu {

// Enqueues `plan` on `stream` of the current context, whose GPU has this compute capability.
void launch_attn_append(const CudaDriver& driver, const AttnAppendPlan& plan,
                        int compute_capability, CudaStream stream);

}  // namespace regard::gpu
