#include "gpu/launch/sage_fwd_mma.h"

#include "gpu/launch/launch_kernel.h"
#include "gpu/launch/sage_quantize.h"
#include "gpu/launch/workspace.h"

namespace regard::gpu {

void launch_sage_fwd_mma(const CudaDriver& driver, SageFwdPlan plan, int compute_capability,
                         CudaStream stream) {
  if (plan.grid.is_empty()) {
    return;
  }
  const Workspace workspace(driver, plan.workspace_bytes(), stream);
  plan.set_workspace(workspace.data());
  launch_sage_quantize(driver, plan.operands, compute_capability, stream);
  launch_kernel(driver,
                {.stem = "sage_fwd_mma",
                 .params = "SageParams",
                 .config = plan.config,
                 .compute_capability = compute_capability,
                 .smem_bytes = plan.config.smem_bytes()},
                &plan.params, plan.grid, stream);
}

}  // namespace regard::gpu
