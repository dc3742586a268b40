// Launches sage_mean and sage_quantize.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/plan/sage_quantize.h"

namespace regard::gpu {

// Enqueues what `plan`, whose workspace is set, needs on `stream` of the current context, whose GPU
// has this compute capability.
void launch_sage_quantize(const CudaDriver& driver, const SageQuantizePlan& plan,
                          int compute_capability, CudaStream stream);

}  // namespace regard::gpu
