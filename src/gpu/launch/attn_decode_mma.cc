#include "gpu/launch/attn_decode_mma.h"

#include "gpu/launch/launch_kernel.h"
#include "gpu/launch/workspace.h"

namespace regard::gpu {

void launch_attn_decode_mma(const CudaDriver& driver, AttnDecodePlan plan, int compute_capability,
                            CudaStream stream) {
  if (plan.grid.is_empty()) {
    return;
  }
  const Workspace workspace(driver, plan.workspace_bytes(), stream);
  if (workspace.data() != nullptr) {
    plan.set_workspace(workspace.data());
  }
  launch_kernel(driver,
                {.stem = "attn_decode_mma",
                 .params = "AttnDecodeParams",
                 .config = plan.config,
                 .compute_capability = compute_capability,
                 .smem_bytes = decode_smem_bytes(plan.config),
                 .programs = plan.programs},
                &plan.params, plan.grid, stream);
  launch_kernel(driver,
                {.stem = "attn_combine",
                 .params = "AttnDecodeParams",
                 .config = plan.combine,
                 .compute_capability = compute_capability,
                 .smem_bytes = combine_smem_bytes(plan.combine)},
                &plan.params, plan.combine_grid, stream, LaunchOrder::begins_early);
}

}  // namespace regard::gpu
