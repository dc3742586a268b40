#include "gpu/launch/attn_fwd_simt.h"

#include "gpu/launch/launch_kernel.h"

namespace regard::gpu {

void launch_attn_fwd_simt(const CudaDriver& driver, const AttnFwdPlan& plan, int compute_capability,
                          CudaStream stream) {
  launch_kernel(driver,
                {.stem = "attn_fwd_simt",
                 .params = "AttnFwdParams",
                 .config = plan.config,
                 .compute_capability = compute_capability,
                 .smem_bytes = forward_layout(plan.config).smem_bytes(),
                 .programs = plan.programs},
                &plan.params, plan.grid, stream);
}

}  // namespace regard::gpu
