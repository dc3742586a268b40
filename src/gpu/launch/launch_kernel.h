// Launches any kernel.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/compile.h"
#include "gpu/plan/grid.h"

namespace regard::gpu {

// Enqueues the kernel of `request` on `stream` of the current context and returns before it has
// run. `params` is the struct that request.params names; it is copied. Does nothing for an empty
// grid. Throws Error where the kernel cannot be compiled, loaded or launched.
void launch_kernel(const CudaDriver& driver, const CompileRequest& request, const void* params,
                   Grid grid, CudaStream stream);

}  // namespace regard::gpu
