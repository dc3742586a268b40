// Launches sage_mean, sage_quantize and sage_fwd_mma.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/sage_fwd_mma.h"

namespace regard::gpu {

// Enqueues `plan` on `stream` of the current context, whose GPU has this compute capability (the
// plan may have been made for an older one), with a Workspace. Returns before the kernels have run.
void launch_sage_fwd_mma(const CudaDriver& driver, SageFwdPlan plan, int compute_capability,
                         CudaStream stream);

}  // namespace regard::gpu
