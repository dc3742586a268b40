// Launches attn_fwd_simt.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/attn_fwd_simt.h"

namespace regard::gpu {

// Enqueues `plan` on `stream` of the current context, whose GPU has this compute capability (the
// plan may have been made for an older one). Returns before the kernel has run.
void launch_attn_fwd_simt(const CudaDriver& driver, const AttnFwdPlan& plan, int compute_capability,
                          CudaStream stream);

}  // namespace regard::gpu
