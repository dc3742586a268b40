// Planner of sage_fwd_mma. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <string>

#include "gpu/plan/attn_fwd_mma.h"
#include "gpu/plan/sage_quantize.h"

namespace regard::gpu {

// `config` as with_tiles() takes it, its head_dim counting pairs of int8: attn_fwd_mma's tiles, but
// 32 keys where values have 65 to 128 columns (1.04 to 1.11 times as fast on an H100 as 64), and
// 64 rows where rounding weights to e4m3 takes registers.
constexpr AttnConfig with_sage_tiles(AttnConfig config, int compute_capability) {
  config = with_tiles(config, compute_capability);
  config.folds_scale = config.folds_scale && !config.has_alibi;  // a lane's factor changes
  const bool is_tall = config.block_q == 128 && config.num_warps == 4;
  if (is_tall && config.value_dim > 64) {
    config.block_k = 32;
  }
  if (is_tall && config.values == ValueRounding::e4m3) {
    config.block_q = 64;
  }
  return config;
}

// Empty when sage_quantize and sage_fwd_mma compute the forward of `problem` (validated) on a GPU
// of this compute capability; else a sentence with the value and the limit.
std::string why_unsupported_sage_fwd_mma(const Problem& problem, int compute_capability);

struct SageFwdPlan {
  SageQuantizePlan operands;
  AttnConfig config;
  SageParams params;
  Grid grid{};

  size_t workspace_bytes() const { return operands.workspace_bytes(); }
  // Before any of the kernels is launched.
  void set_workspace(void* data);
};

// The problem must be supported. The launcher leaves out an empty grid.
SageFwdPlan plan_sage_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability);

}  // namespace regard::gpu
