#include "gpu/launch/attn_append.h"

#include "gpu/launch/launch_kernel.h"

namespace regard::gpu {

void launch_attn_append(const CudaDriver& driver, const AttnAppendPlan& plan,
                        int compute_capability, CudaStream stream) {
  launch_kernel(driver,
                {.stem = "attn_append",
                 .params = "AttnAppendParams",
                 .config = plan.config,
                 .compute_capability = compute_capability},
                &plan.params, plan.grid, stream);
}

}  // namespace regard::gpu
