// Launches attn_decode_mma and, where the keys are cut into parts, attn_combine.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/attn_decode_mma.h"

namespace regard::gpu {

// Enqueues `plan` on `stream` of the current context, whose GPU has this compute capability (the
// plan may have been made for an older one), with a Workspace where it needs one. Returns before
// the kernels have run.
void launch_attn_decode_mma(const CudaDriver& driver, AttnDecodePlan plan, int compute_capability,
                            CudaStream stream);

}  // namespace regard::gpu
