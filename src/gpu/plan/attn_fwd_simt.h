// Planner of attn_fwd_simt: which Problems it serves, the config of the kernel, the parameters and
// the grid of its launch. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <string>

#include "gpu/kernels/simt_layout.h"
#include "gpu/plan/attn_fwd_mma.h"

namespace regard::gpu {

// Whether much is computed for single pairs: unrolled over all of a lane's, it takes registers.
constexpr bool has_pair_work(const AttnConfig& config) {
  return config.reads_pairs() || config.has_dropout || config.has_score_program ||
         config.has_mask_program;
}

// Fills in block sizes: `config` has element, head sizes in whole 32 and flags. Scores and sums of
// a lane take block_q / (4 num_warps) * (block_k + value_dim) / 8 of its 255 registers.
constexpr AttnConfig with_simt_tiles(AttnConfig config, int compute_capability) {
  struct Tiles {
    int block_q, block_k, num_warps, most_value_dim;
  };
  // Measured on Hopper, f32: D 64 128 x 64 38.6 TFLOP/s, 64 x 64 34.6; D 128 128 x 32 36.2, 64 x 64
  // 33.2, 64 x 32 31.5; D 256 64 x 32 29.9, 64 x 64 25.9.
  constexpr Tiles kTiles[] = {{128, 64, 4, 64}, {128, 32, 4, 128}, {64, 64, 4, 192},
                              {64, 32, 4, 256}, {32, 64, 4, 512},  {32, 32, 4, 512},
                              {16, 32, 4, 512}};
  config.copies_async =
      compute_capability >= 80 && config.element == Element::f32 && config.is_vectorised;
  const int most_sums = !has_pair_work(config) ? 160 : compute_capability < 80 ? 72 : 80;
  for (const Tiles& tiles : kTiles) {
    config.block_q = tiles.block_q;
    config.block_k = tiles.block_k;
    config.num_warps = tiles.num_warps;
    const int sums =
        config.block_q / (4 * config.num_warps) * (config.block_k + config.value_dim) / 8;
    if (config.value_dim <= tiles.most_value_dim && sums <= most_sums &&
        forward_layout(config).smem_bytes() <= smem_limit_bytes(compute_capability)) {
      break;
    }
  }
  return config;
}

// Empty when attn_fwd_simt computes the forward of `problem` (validated) on a GPU of this compute
// capability; else a sentence with the value and the limit.
std::string why_unsupported_attn_fwd_simt(const Problem& problem, int compute_capability);

// The problem must be supported. The launcher leaves out an empty grid.
AttnFwdPlan plan_attn_fwd_simt(const Problem& problem, const ForwardOutputs& outputs,
                               int compute_capability);

}  // namespace regard::gpu
