#include "gpu/launch/launch_kernel.h"

#include "gpu/launch/loaded_kernel.h"

namespace regard::gpu {

void launch_kernel(const CudaDriver& driver, const CompileRequest& request, const void* params,
                   Grid grid, CudaStream stream) {
  if (grid.is_empty()) {
    return;
  }
  const CudaFunction function = loaded_kernel(driver, request);
  void* arguments[] = {const_cast<void*>(params)};  // the driver reads it
  check(driver,
        driver.launch_kernel(function, static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                             static_cast<unsigned>(grid.z),
                             static_cast<unsigned>(request.config.num_threads()), 1, 1,
                             static_cast<unsigned>(request.smem_bytes), stream, arguments, nullptr),
        ("cuLaunchKernel " + request.stem).c_str());
}

}  // namespace regard::gpu
