// What attn_decode_mma makes of an AttnConfig: block_q merged rows (query * group + head of the
// group) that every warp has, block_k keys a step that the warps divide, `num_stages` tiles of K
// and V. Freestanding: planner and kernel read it.
#pragma once

#include "attn_config.h"

namespace regard::gpu {

// The config of what a single warp computes: all rows, its share of a step's keys.
constexpr AttnConfig of_one_warp(AttnConfig config) {
  config.block_k /= config.num_warps;
  config.num_warps = 1;
  return config;
}

constexpr int stage_elements(const AttnConfig& config) {
  return config.k_elements() + config.v_elements();
}

// At the end the ring becomes room for what every warp sums of each row: outputs, f32, 8 apart from
// a multiple of 32 banks, then max and sum.
constexpr int merge_stride(const AttnConfig& config) { return config.value_dim + 8; }
constexpr int merge_rows(const AttnConfig& config) { return config.num_warps * config.block_q; }
constexpr int merge_bytes(const AttnConfig& config) {
  return 4 * merge_rows(config) * (merge_stride(config) + 2);
}

// Behind both, in elements of 16 bits: where the keys of the ring's tiles lie (is_paged).
constexpr int places_offset(const AttnConfig& config) {
  const int ring = config.num_stages * stage_elements(config);
  const int merge = merge_bytes(config) / 2;
  return config.q_elements() + (ring > merge ? ring : merge);
}

constexpr int decode_smem_bytes(const AttnConfig& config) {
  const int places_bytes = config.is_paged ? 8 * config.num_stages * config.block_k : 0;
  return 2 * places_offset(config) + places_bytes;
}

constexpr const char* why_unsupported_decode(const AttnConfig& config) {
  if (config.num_warps < 1 || config.num_warps > 8) {
    return "num_warps: must be 1 to 8";
  }
  if (config.block_k % (16 * config.num_warps) != 0) {
    return "block_k: must be a multiple of 16 keys for each warp";
  }
  if (config.num_stages < 2) {
    return "num_stages: must be at least 2, one to read and one to fill";
  }
  if (decode_smem_bytes(config) > 227 * 1024) {
    return "smem_bytes: more than the 227 KiB that any GPU gives to a thread block";
  }
  return why_unsupported(of_one_warp(config));
}

}  // namespace regard::gpu
