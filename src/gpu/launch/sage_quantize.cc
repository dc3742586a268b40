#include "gpu/launch/sage_quantize.h"

#include "gpu/launch/launch_kernel.h"

namespace regard::gpu {

void launch_sage_quantize(const CudaDriver& driver, const SageQuantizePlan& plan,
                          int compute_capability, CudaStream stream) {
  launch_kernel(driver,
                {.stem = "sage_mean",
                 .params = "SageParams",
                 .config = plan.mean_config,
                 .compute_capability = compute_capability,
                 .smem_bytes = sage_smem_bytes(plan.mean_config)},
                &plan.params, plan.mean_grid, stream);
  launch_kernel(driver,
                {.stem = "sage_quantize",
                 .params = "SageParams",
                 .config = plan.config,
                 .compute_capability = compute_capability,
                 .smem_bytes = sage_smem_bytes(plan.config)},
                &plan.params, plan.grid, stream);
}

}  // namespace regard::gpu
