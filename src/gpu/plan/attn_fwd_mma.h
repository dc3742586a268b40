// Planner of attn_fwd_mma: which Problems it serves, the config of the kernel, the parameters and
// the grid of its launch. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <string>

#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// Keys up to which a block has so few steps that its first and last copies count: more blocks a
// multiprocessor then pay off, also with smaller steps.
inline constexpr int64_t kFewKeys = 512;

// Fills in block sizes, stages and instructions: `config` has element, head_dim, value_dim and
// flags. Sums and scores of a lane take row_tiles * (value_dim + block_k) / 2 of its 255 registers.
// What was measured stands in docs/kernels/attn_fwd_mma.md.
constexpr AttnConfig with_tiles(AttnConfig config, int compute_capability,
                                bool has_few_keys = false) {
  const bool is_turing = compute_capability < 80;
  const int largest = config.head_dim > config.value_dim ? config.head_dim : config.value_dim;
  const int smem_bytes = smem_limit_bytes(compute_capability);
  const bool has_room = smem_bytes > 99 * 1024;
  // Everything else that a score may need takes registers from the tile.
  const bool is_plain = !config.changes_scores() && !config.changes_pairs() && !config.has_chunks;
  config.product = is_turing ? MatrixProduct::m16n8k8 : MatrixProduct::m16n8k16;
  config.copies_async = !is_turing;
  config.num_warps = 4;
  config.folds_scale = config.may_fold_scale();
  config.num_stages = has_room && largest <= 128 ? 2 : 1;
  if (largest <= 64 && has_room && is_plain && has_few_keys) {
    config.block_q = 128;
    config.block_k = 32;
    config.min_blocks = 3;
  } else if (largest <= 64) {
    config.block_q = config.reads_pairs() || config.has_dropout ? 64 : 128;
    config.block_k = 64;
    config.keeps_q = is_plain && has_room;
  } else if (largest <= 128) {
    // Two blocks a multiprocessor: 128 rows by 64 keys take 204 KiB, and all registers. Draws of
    // dropout, or many terms at once, would spill with 128 rows. 99 KiB hold one block of any size:
    // the one of 8 warps.
    const bool is_tall =
        has_room &&
        (is_plain || (config.is_vectorised && !config.has_dropout && config.num_pair_terms() <= 2));
    const bool is_tight = !has_room && !is_turing && !config.changes_pairs();
    const bool is_long = compute_capability == 90 && !(has_few_keys && config.has_limits);
    config.num_warps = is_tight ? 8 : 4;
    config.block_q = is_tall || is_tight ? 128 : 64;
    config.block_k = is_tall && !(is_plain && is_long) ? 32 : 64;
  } else if (largest > 192 && is_plain && smem_bytes > 203 * 1024) {
    config.num_warps = 8;
    config.num_stages = 2;
    config.block_q = 128;
    config.block_k = 64;
  } else {
    config.block_q = 64;
    const int most_keys = largest > 192 ? 32 : 64;
    config.block_k = is_turing || !is_plain ? most_keys / 2 : most_keys;
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
