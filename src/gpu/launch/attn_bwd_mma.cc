#include "gpu/launch/attn_bwd_mma.h"

#include "gpu/launch/launch_kernel.h"
#include "gpu/launch/workspace.h"

namespace regard::gpu {

void launch_attn_bwd_mma(const CudaDriver& driver, AttnBwdPlan plan, int compute_capability,
                         CudaStream stream) {
  const Workspace workspace(driver, plan.workspace_bytes, stream);
  place_workspace(plan, workspace.data());
  for (const BwdLaunch& launch : plan.launches) {
    plan.params.pass = launch.pass;
    launch_kernel(driver,
                  {.stem = launch.stem,
                   .params = "AttnBwdParams",
                   .config = launch.config,
                   .compute_capability = compute_capability,
                   .smem_bytes = launch.smem_bytes,
                   .programs = plan.programs},
                  &plan.params, launch.grid, stream);
  }
}

}  // namespace regard::gpu
