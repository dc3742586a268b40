// Planner of attn_bwd_simt: which Problems it serves, configs, parameters and grids of the
// launches. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <string>

#include "gpu/kernels/simt_layout.h"
#include "gpu/plan/attn_bwd_mma.h"
#include "gpu/plan/attn_fwd_simt.h"

namespace regard::gpu {

// Fills in block sizes of attn_bwd_simt_dq: `config` has element, head sizes in whole 32 and flags.
// Of the rows a lane owns, S and dP take block_k / 8 registers each, dQ head_dim / 8.
constexpr AttnConfig with_simt_dq_tiles(AttnConfig config, int compute_capability) {
  struct Tiles {
    int block_q, block_k, num_warps;
  };
  // Measured on Hopper, f32: D 64 128 x 32 37.0 TFLOP/s, 64 x 64 31.8; D 128 128 x 64 33.5, 64 x 32
  // 28.9, 64 x 64 26.0.
  constexpr Tiles kTiles[] = {{128, 32, 4}, {128, 64, 8}, {64, 32, 4},
                              {32, 32, 4},  {16, 32, 2},  {8, 32, 1}};
  config.copies_async =
      compute_capability >= 80 && config.element == Element::f32 && config.is_vectorised;
  const int most_sums = has_pair_work(config) ? 72 : 144;
  for (const Tiles& tiles : kTiles) {
    config.block_q = tiles.block_q;
    config.block_k = tiles.block_k;
    config.num_warps = tiles.num_warps;
    const int sums =
        config.block_q / (4 * config.num_warps) * (2 * config.block_k + config.head_dim) / 8;
    if (sums <= most_sums &&
        query_gradient_layout(config).smem_bytes() <= smem_limit_bytes(compute_capability)) {
      break;
    }
  }
  return config;
}

// The same of attn_bwd_simt_dkv; dK and dV take (head_dim + value_dim) / 8.
constexpr AttnConfig with_simt_dkv_tiles(AttnConfig config, int compute_capability) {
  struct Tiles {
    int block_q, block_k, num_warps;
  };
  // Measured on Hopper, f32: D 64 32 x 128 36.9 TFLOP/s, 64 x 64 33.2; D 128 64 x 128 33.2, 32 x 64
  // 30.5.
  constexpr Tiles kTiles[] = {{32, 128, 4}, {64, 128, 8}, {32, 64, 4}, {32, 32, 4},
                              {32, 32, 8},  {32, 16, 4},  {32, 8, 2}};
  config.copies_async =
      compute_capability >= 80 && config.element == Element::f32 && config.is_vectorised;
  const int most_sums = has_pair_work(config) ? 80 : config.element == Element::f32 ? 192 : 184;
  for (const Tiles& tiles : kTiles) {
    config.block_q = tiles.block_q;
    config.block_k = tiles.block_k;
    config.num_warps = tiles.num_warps;
    const int sums = config.block_k / (4 * config.num_warps) *
                     (2 * config.block_q + config.head_dim + config.value_dim) / 8;
    if (sums <= most_sums &&
        key_gradient_layout(config).smem_bytes() <= smem_limit_bytes(compute_capability)) {
      break;
    }
  }
  return config;
}

// Element, head sizes and flags of attn_bwd_simt and attn_bwd_terms, before with_simt_dq_tiles.
AttnConfig simt_bwd_config(const Problem& problem, const BackwardTensors& tensors);

// Empty when these kernels compute the gradients that `tensors` asks for of `problem` (both
// validated) on a GPU of this compute capability; else a sentence with the value and the limit.
std::string why_unsupported_attn_bwd_simt(const Problem& problem, const BackwardTensors& tensors,
                                          int compute_capability);

// The problem must be supported. Deterministic. To be launched by launch_attn_bwd_mma.
AttnBwdPlan plan_attn_bwd_simt(const Problem& problem, const BackwardTensors& tensors,
                               int compute_capability);

}  // namespace regard::gpu
