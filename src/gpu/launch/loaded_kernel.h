// Kernels in the GPU's memory, each compiled and loaded once a process and context.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/compile.h"

namespace regard::gpu {

// The kernel of `request` in the current context, ready for its shared memory. Compiles it, or
// takes it from the disk cache, at the first call. Thread-safe. Throws Error where it cannot be
// compiled or loaded.
CudaFunction loaded_kernel(const CudaDriver& driver, const CompileRequest& request);

}  // namespace regard::gpu
