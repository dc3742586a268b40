// Where the quantised operands of a sage call lie: int8 rows, and the scales of their groups in
// blocks that count from each sequence's first row (core/int8_groups.h). Coarser groups repeat
// their scale, so that every reader finds it by the finest.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

inline constexpr int kScaleQueries = 32, kScaleKeys = 64;      // rows of a block
inline constexpr int kQueryScales = 8, kKeyScales = 4;         // scales of a block
inline constexpr int kQueriesOfQuantizer = 4 * kScaleQueries;  // per_block's group

// First block of a sequence. Of documents, which need not begin at a block, number i begins i
// blocks later than its rows would: no two share a block.
template <AttnConfig kCfg>
REGARD_DEVICE long long first_scale_block(const Sequence& sequence, int begin, int len,
                                          int block_rows) {
  return kCfg.is_packed
             ? begin / block_rows + sequence.index
             : static_cast<long long>(sequence.index) * ((len + block_rows - 1) / block_rows);
}

// The eight scales of the block that holds `query`: query % 8 has its own.
template <AttnConfig kCfg>
REGARD_DEVICE float* query_scales(const SageParams& p, const Sequence& sequence, int head,
                                  int query) {
  const long long block =
      head * p.num_query_blocks + query / kScaleQueries +
      first_scale_block<kCfg>(sequence, sequence.q_begin, sequence.q_len, kScaleQueries);
  return p.q_scales + block * kQueryScales;
}

// The four scales of the block that holds `key`: key % 8 / 2 has its own.
template <AttnConfig kCfg>
REGARD_DEVICE float* key_scales(const SageParams& p, const Sequence& sequence, int kv_head,
                                int key) {
  const long long block =
      kv_head * p.num_key_blocks + key / kScaleKeys +
      first_scale_block<kCfg>(sequence, sequence.k_begin, sequence.k_len, kScaleKeys);
  return p.k_scales + block * kKeyScales;
}

// q . mean of a query, counted from the sequence's first.
REGARD_DEVICE float* shift_of(const SageParams& p, const Sequence& sequence, int head, int query) {
  const long long row = static_cast<long long>(sequence.batch) * p.num_heads + head;
  return p.shifts + row * p.q_len + sequence.q_begin + query;
}

// `dim` numbers of one sequence and key/value head.
REGARD_DEVICE float* of_sequence(float* all, const ProblemParams& p, const Sequence& sequence,
                                 int kv_head, int dim) {
  const int num_kv_heads = p.num_heads / p.heads_per_kv_head;
  return all + (static_cast<long long>(sequence.index) * num_kv_heads + kv_head) * dim;
}

}  // namespace regard::gpu
