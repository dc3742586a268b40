// Launches any kernel.
#pragma once

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/compile.h"
#include "gpu/plan/grid.h"

namespace regard::gpu {

// When a kernel begins: after all earlier work of the stream; or while that still runs, so that
// only what follows its await_earlier_kernels() comes after (from Hopper on; before it, and for
// kernels that do not ask, the same as in_order).
enum class LaunchOrder { in_order, begins_early };
inline constexpr int kFirstEarlyBegin = 90;

// Enqueues the kernel of `request` on `stream` of the current context and returns before it has
// run. `params` is the struct that request.params names; it is copied. Does nothing for an empty
// grid. Throws Error where the kernel cannot be compiled, loaded or launched.
void launch_kernel(const CudaDriver& driver, const CompileRequest& request, const void* params,
                   Grid grid, CudaStream stream, LaunchOrder order = LaunchOrder::in_order);

}  // namespace regard::gpu
