// Planner of attn_decode_mma and attn_combine: which Problems are decoding, the configs, the number
// of splits, parameters, grids and workspace. Touches no GPU, and reads none of the Problem's
// memory.
#pragma once

#include <cstddef>
#include <string>

#include "gpu/kernels/attn_decode_config.h"
#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// Rows of one tile: up to this many merged rows a call is decoding.
inline constexpr int kMostDecodeRows = 32;

// Fills in block sizes, ring and instructions: `config` has element, head_dim, value_dim and flags;
// `num_rows` merged rows are usual. Sums of a lane take value_dim / 2 registers a 16-row tile.
// `has_long_runs`: blocks start rarely, so that nothing need run beside one that begins or ends.
constexpr AttnConfig with_decode_tiles(AttnConfig config, int num_rows, int compute_capability,
                                       bool has_long_runs = true) {
  const bool is_turing = compute_capability < 80;
  const int largest = config.head_dim > config.value_dim ? config.head_dim : config.value_dim;
  config.product = is_turing ? MatrixProduct::m16n8k8 : MatrixProduct::m16n8k16;
  config.copies_async = !is_turing;
  config.fetch_bytes = is_turing ? 0 : config.head_dim % 128 == 0 ? 256 : 128;
  config.block_q = num_rows > 16 && largest <= 128 ? 32 : 16;
  const int smem_bytes = smem_limit_bytes(compute_capability);
  const bool is_large = smem_bytes > 99 * 1024;
  // Long runs of each block's rows suit the memory best: on Hopper one block of 128 keys a step and
  // 3 stages reads 3.00 TB/s, two of 64 keys 2.94. Pages take two blocks, which hide each other's
  // looking up (2.57 TB/s; one block 2.03).
  const bool fills_alone = smem_bytes > 200 * 1024 && has_long_runs && !config.is_paged;
  config.num_stages = 2;
  if (fills_alone && largest <= 128) {
    config.num_warps = largest <= 64 || config.block_q == 32 ? 8 : 4;
    config.block_k = largest <= 64 ? 256 : 128;
  } else {
    // As many warps as two tiles of the ring leave room for.
    for (config.num_warps = 4; config.num_warps > 1; config.num_warps /= 2) {
      config.block_k = 16 * config.num_warps;
      if (decode_smem_bytes(config) <= smem_bytes) {
        break;
      }
    }
    config.block_k = 16 * config.num_warps * (largest <= 64 && is_large ? 2 : 1);
  }
  constexpr int kSystemBytes = 1024;  // of every block
  const bool is_half = is_large && !fills_alone;
  const int room = is_half ? (smem_bytes + kSystemBytes) / 2 - kSystemBytes : smem_bytes;
  for (AttnConfig deeper = config; deeper.num_stages <= 4; ++deeper.num_stages) {
    if (decode_smem_bytes(deeper) <= room) {
      config.num_stages = deeper.num_stages;
    }
  }
  return config;
}

// The config of attn_combine that belongs to a config of attn_decode_mma.
constexpr AttnConfig combine_config(const AttnConfig& config) {
  return {.element = config.element,
          .head_dim = config.value_dim,
          .value_dim = config.value_dim,
          .num_warps = 4,
          .is_vectorised = config.is_vectorised,
          .has_sink = config.has_sink};
}
constexpr int combine_smem_bytes(const AttnConfig& config) {
  return 4 * config.num_warps * config.value_dim;
}

// Parts to cut `num_keys` keys into, so that `num_blocks` blocks for each part keep a GPU busy that
// runs `num_resident` of them at a time.
int num_splits_of(int64_t num_blocks, int64_t num_keys, int64_t num_resident, int block_k);

// Empty when attn_decode_mma computes the forward of `problem` (validated) on a GPU of this compute
// capability and is meant for it: at most kMostDecodeRows merged rows (queries of a sequence *
// query heads of a key/value head; of packed rows on average), or pages. Else a sentence.
std::string why_unsupported_attn_decode_mma(const Problem& problem, int compute_capability);

struct AttnDecodePlan {
  AttnConfig config;
  AttnDecodeParams params;  // the launcher fills in the workspace's pointers
  std::string programs{};   // text of programs.cuh; empty: no programs
  Grid grid{};
  AttnConfig combine{};  // where params.num_splits > 1
  Grid combine_grid{};

  // Of outputs, maxima and sums of all parts.
  size_t workspace_bytes() const;
  void set_workspace(void* data);
};

// The problem must be supported. `num_multiprocessors` of the GPU decides the splits.
AttnDecodePlan plan_attn_decode_mma(const Problem& problem, const ForwardOutputs& outputs,
                                    int compute_capability, int num_multiprocessors);

}  // namespace regard::gpu
