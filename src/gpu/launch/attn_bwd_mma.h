// Launches attn_bwd_mma and the kernels around it.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/attn_bwd_mma.h"

namespace regard::gpu {

// Enqueues `plan` on `stream` of the current context, whose GPU has this compute capability (the
// plan may have been made for an older one), with a workspace of this thread's allocator. Returns
// before the kernels have run.
void launch_attn_bwd_mma(const CudaDriver& driver, AttnBwdPlan plan, int compute_capability,
                         CudaStream stream);

}  // namespace regard::gpu
