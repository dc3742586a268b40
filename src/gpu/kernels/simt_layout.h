// Tiles of the kernels that multiply without the matrix unit: what lies in shared memory, in floats
// whatever the operands' format. Freestanding: planners and kernels read the same text.
//
// A kernel owns some rows (queries in a forward and for dQ, keys for dK and dV) and walks over
// blocks of the others. Its own rows stay in shared memory whole; of the others, 32 or 64 columns
// at a time pass through two stages, one being filled while the other is multiplied.
#pragma once

#include "attn_config.h"

namespace regard::gpu {

// Rows in shared memory are 16 bytes longer than their contents: 8 neighbours then lie in 8
// different groups of banks.
inline constexpr int kRowPadding = 4;

// Columns of a row that pass through a stage at once.
constexpr int stage_columns(int dim) { return dim % 64 == 0 ? 64 : 32; }

struct SimtLayout {
  int own_rows, other_rows;
  int own_columns;         // of all operands that stay, padding included
  int most_stage_columns;  // of any operand that passes

  constexpr int stage_floats() const { return other_rows * (most_stage_columns + kRowPadding); }
  // Weights, or gradients of scores: [own_rows][other_rows].
  constexpr int tile_floats() const { return own_rows * (other_rows + kRowPadding); }
  constexpr int smem_bytes() const {
    return 4 * (own_rows * own_columns + 2 * stage_floats() + tile_floats());
  }
};

constexpr int most_stage_columns(const AttnConfig& config) {
  const int columns = stage_columns(config.head_dim), value = stage_columns(config.value_dim);
  return columns > value ? columns : value;
}

// Q stays.
constexpr SimtLayout forward_layout(const AttnConfig& config) {
  return {config.block_q, config.block_k, config.head_dim + kRowPadding,
          most_stage_columns(config)};
}
// Q and dO stay.
constexpr SimtLayout query_gradient_layout(const AttnConfig& config) {
  return {config.block_q, config.block_k, config.head_dim + config.value_dim + 2 * kRowPadding,
          most_stage_columns(config)};
}
// K and V stay.
constexpr SimtLayout key_gradient_layout(const AttnConfig& config) {
  return {config.block_k, config.block_q, config.head_dim + config.value_dim + 2 * kRowPadding,
          most_stage_columns(config)};
}

// Why no kernel without matrix unit can be made of `config` whose threads share `own_rows` and walk
// over blocks of `other_rows`; nullptr when one can.
constexpr const char* why_unsupported_simt(const AttnConfig& config, const SimtLayout& layout) {
  if (config.head_dim < 32 || config.head_dim > 512 || config.head_dim % 32 != 0) {
    return "head_dim: must be a multiple of 32 from 32 to 512";
  }
  if (config.value_dim < 32 || config.value_dim > 512 || config.value_dim % 32 != 0) {
    return "value_dim: must be a multiple of 32 from 32 to 512";
  }
  if (config.num_warps < 1 || config.num_warps > 16) {
    return "num_warps: must be 1 to 16";
  }
  if (layout.own_rows < 4 * config.num_warps || layout.own_rows % (4 * config.num_warps) != 0) {
    return "rows of a block: must be a multiple of 4 for each warp";
  }
  if (layout.other_rows < 32 || layout.other_rows % 32 != 0) {
    return "rows of a step: must be a multiple of 32";
  }
  if (layout.smem_bytes() > 227 * 1024) {
    return "smem_bytes: more than the 227 KiB that any GPU gives to a thread block";
  }
  return nullptr;
}

}  // namespace regard::gpu
