// Tiles of the backward's kernels in shared memory and in the workspace. Freestanding: the planner,
// the tests and the kernels read the same text.
#pragma once

#include "attn_config.h"

namespace regard::gpu {

// Rows of the workspace come in groups of so many for each sequence; every block_q divides it.
inline constexpr int kRowGroup = 128;

// attn_bwd_mma, in elements of 16 bits. Rows of tiles are one 16-byte piece longer than their
// contents (see AttnConfig::k_stride).
struct BwdLayout {
  int v;                // [block_k, value_dim], after K [block_k, head_dim]
  int stage;            // the first of num_stages
  int stage_elements;   // Q, dO, LSE, delta of one step
  int d_o, lse, delta;  // within a stage, after Q
  // P^T, where warps exchange it, and one or two dS^T, where it is exchanged or dQ added up:
  // [block_k, block_q] each.
  int weights, ds, ds_elements;
  int pair_stride;  // of their rows
  int num_bytes;
};

constexpr BwdLayout bwd_layout(const AttnConfig& config) {
  BwdLayout layout{};
  layout.v = config.block_k * config.k_stride();
  layout.stage = layout.v + config.block_k * config.v_stride();
  layout.d_o = config.block_q * config.k_stride();
  layout.lse = layout.d_o + config.block_q * config.v_stride();
  layout.delta = layout.lse + 2 * config.block_q;
  layout.stage_elements = layout.delta + 2 * config.block_q;
  layout.pair_stride = config.block_q + 8;
  const bool is_exchanged = config.column_parts > 1;
  const int pair_elements = config.block_k * layout.pair_stride;
  layout.weights = layout.stage + config.num_stages * layout.stage_elements;
  layout.ds = layout.weights + (is_exchanged ? pair_elements : 0);
  layout.ds_elements = config.is_deterministic ? 0 : pair_elements;
  const int num_ds = config.is_deterministic ? (is_exchanged ? 1 : 0) : config.num_stages;
  layout.num_bytes = 2 * (layout.ds + num_ds * pair_elements);
  return layout;
}

// How the warps of attn_bwd_mma share the sum dQ [block_q, head_dim]: `rows` times `cols` of them
// have a part, the others none.
struct DqWarps {
  int rows, cols;
};

// Pieces of at most 32 rows, as square as can be: of a square most comes out of each fragment.
constexpr DqWarps dq_warps(const AttnConfig& config) {
  for (int num_warps = config.num_warps; num_warps > 0; num_warps /= 2) {
    for (int rows = (config.block_q + 31) / 32; rows <= num_warps; rows *= 2) {
      const int cols = num_warps / rows;
      if (config.block_q % (16 * rows) == 0 && config.head_dim % (16 * cols) == 0) {
        return {rows, cols};
      }
    }
  }
  return {0, 0};
}

// attn_bwd_dq_mma: Q, dO and two stages of K and V, in bytes.
constexpr int dq_smem_bytes(const AttnConfig& config) {
  return 2 * (config.block_q + config.num_stages * config.block_k) *
         (config.k_stride() + config.v_stride());
}

// Why neither kernel can be made of `config`; nullptr when both can.
constexpr const char* why_unsupported_bwd(const AttnConfig& config) {
  if (config.head_dim < 16 || config.head_dim > 256 || config.head_dim % 16 != 0) {
    return "head_dim: must be a multiple of 16 from 16 to 256";
  }
  if (config.value_dim < 16 || config.value_dim > 256 || config.value_dim % 16 != 0) {
    return "value_dim: must be a multiple of 16 from 16 to 256";
  }
  if (config.head_dim % (16 * config.column_parts) != 0 ||
      config.value_dim % (16 * config.column_parts) != 0) {
    return "column_parts: head_dim and value_dim must be multiples of 16 of each";
  }
  if (config.block_q < 16 || kRowGroup % config.block_q != 0) {
    return "block_q: must be 16, 32, 64 or 128";
  }
  if (config.column_parts != 1 && config.column_parts != 2) {
    return "column_parts: must be 1 or 2";
  }
  if (config.slice_q < 16 || config.slice_q % 16 != 0 || config.block_q % config.slice_q != 0) {
    return "slice_q: must be a multiple of 16 and a part of block_q";
  }
  if (config.column_parts == 2 && config.block_q != 2 * config.slice_q) {
    return "slice_q: must be half of block_q where warps exchange their slices";
  }
  if (config.block_k % (16 * config.num_warps / config.column_parts) != 0) {
    return "block_k: must be a multiple of 16 for each warp of a column part";
  }
  if (config.num_stages < 1 || config.num_stages > 2) {
    return "num_stages: must be 1 or 2";
  }
  if (config.product == MatrixProduct::m16n8k8 && config.element != Element::f16) {
    return "element: m16n8k8 multiplies f16 only";
  }
  if (!config.is_deterministic && dq_warps(config).rows == 0) {
    return "block_q, head_dim: dQ cannot be shared among the warps";
  }
  return nullptr;
}

}  // namespace regard::gpu
