#include "gpu/launch/launch_kernel.h"

#include "gpu/launch/loaded_kernel.h"

namespace regard::gpu {

void launch_kernel(const CudaDriver& driver, const CompileRequest& request, const void* params,
                   Grid grid, CudaStream stream, LaunchOrder order) {
  if (grid.is_empty()) {
    return;
  }
  const CudaFunction function = loaded_kernel(driver, request);
  CudaLaunchAttribute attribute = {kProgrammaticStreamSerialization, 0, {}};
  attribute.value.is_allowed = 1;
  const bool begins_early =
      order == LaunchOrder::begins_early && request.compute_capability >= kFirstEarlyBegin;
  const CudaLaunchConfig config = {static_cast<unsigned>(grid.x),
                                   static_cast<unsigned>(grid.y),
                                   static_cast<unsigned>(grid.z),
                                   static_cast<unsigned>(request.config.num_threads()),
                                   1,
                                   1,
                                   static_cast<unsigned>(request.smem_bytes),
                                   stream,
                                   &attribute,
                                   begins_early ? 1u : 0u};
  void* arguments[] = {const_cast<void*>(params)};  // the driver reads it
  check(driver, driver.launch_kernel(&config, function, arguments, nullptr),
        ("cuLaunchKernelEx " + request.stem).c_str());
}

}  // namespace regard::gpu
