#include "gpu/launch/attn_fwd_mma.h"

#include "gpu/launch/loaded_kernel.h"

namespace regard::gpu {

void launch_attn_fwd_mma(const CudaDriver& driver, const AttnFwdPlan& plan, int compute_capability,
                         CudaStream stream) {
  if (plan.grid_x * plan.grid_y * plan.grid_z == 0) {
    return;
  }
  const CudaFunction function = loaded_kernel(driver, {.stem = "attn_fwd_mma",
                                                       .params = "AttnFwdParams",
                                                       .config = plan.config,
                                                       .compute_capability = compute_capability});
  AttnFwdParams params = plan.params;
  void* arguments[] = {&params};
  check(driver,
        driver.launch_kernel(
            function, static_cast<unsigned>(plan.grid_x), static_cast<unsigned>(plan.grid_y),
            static_cast<unsigned>(plan.grid_z), static_cast<unsigned>(plan.config.num_threads()), 1,
            1, static_cast<unsigned>(plan.config.smem_bytes()), stream, arguments, nullptr),
        "cuLaunchKernel attn_fwd_mma");
}

}  // namespace regard::gpu
