// Planner of attn_fwd_mma: which Problems it serves, the config of the kernel, the parameters and
// the grid of its launch. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <string>

#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// Fills in block sizes and instructions: `config` has element, head_dim, value_dim and flags. Sums
// and scores of a lane take row_tiles * (value_dim + block_k) / 2 of its 255 registers; up to 144
// of them leave room for everything else without spilling.
constexpr AttnConfig with_tiles(AttnConfig config, int compute_capability) {
  const bool is_turing = compute_capability < 80;
  const int largest = config.head_dim > config.value_dim ? config.head_dim : config.value_dim;
  config.product = is_turing ? MatrixProduct::m16n8k8 : MatrixProduct::m16n8k16;
  config.copies_async = !is_turing;
  config.num_warps = 4;
  if (largest <= 64) {
    config.block_q = 128;
    config.block_k = 64;
  } else if (largest <= 128) {
    // Measured on Hopper: 128 rows by 32 keys 298 TFLOP/s, 64 by 128 262, 64 by 64 244; where
    // limits cost registers too, 64 by 128 240, 64 by 64 228, 128 by 32 223 with spills. 99 KiB
    // hold only one block of any of these: the one of 8 warps.
    const int smem_bytes = smem_limit_bytes(compute_capability);
    const bool is_tight = !is_turing && smem_bytes <= 99 * 1024;
    const bool is_tall = !is_turing && !is_tight && !config.has_limits;
    config.num_warps = is_tight ? 8 : 4;
    config.block_q = is_tight || is_tall ? 128 : 64;
    config.block_k = is_tall ? 32 : smem_bytes > 200 * 1024 ? 128 : 64;
  } else if (largest <= 192) {
    config.block_q = 64;
    config.block_k = 32;
  } else {
    config.block_q = 64;
    config.block_k = is_turing ? 16 : 32;
  }
  if (largest <= 128 && config.changes_pairs()) {
    // Terms of single pairs take registers from the tile: 128 by 64 and 64 by 128 would spill.
    config.num_warps = 4;
    config.block_q = 64;
    config.block_k = 64;
  }
  return config;
}

// Empty when attn_fwd_mma computes the forward of `problem` (validated) on a GPU of this compute
// capability; else a sentence with the value and the limit.
std::string why_unsupported_attn_fwd_mma(const Problem& problem, int compute_capability);

struct AttnFwdPlan {
  AttnConfig config;
  AttnFwdParams params;
  std::string programs{};  // text of programs.cuh; empty: no programs
  Grid grid{};
};

// The problem must be supported. The launcher leaves out an empty grid.
AttnFwdPlan plan_attn_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability);

}  // namespace regard::gpu
