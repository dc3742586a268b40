// Which keys a query may see, from positions alone: documents, causal, window.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

// One sequence: a batch row or a document.
struct Sequence {
  int index;           // of all sequences: first word of the dropout counter
  int batch;           // batch row of the operands
  int q_begin, q_len;  // in the row
  int k_begin, k_len;
};

template <AttnConfig kCfg>
REGARD_DEVICE Sequence sequence_at(const ProblemParams& p, int index) {
  if constexpr (kCfg.is_packed) {
    const int q_begin = load_global(p.q_offsets + index),
              k_begin = load_global(p.k_offsets + index);
    return {index,   0,
            q_begin, load_global(p.q_offsets + index + 1) - q_begin,
            k_begin, load_global(p.k_offsets + index + 1) - k_begin};
  } else {
    return {index, index, 0, p.q_len, 0, p.k_len};
  }
}

// Keys [lo, hi) of a query, counted from the sequence's first; lo >= hi: none. Both grow with the
// query.
struct KeyLimits {
  int lo, hi;
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyLimits key_limits(const ProblemParams& p, const Sequence& sequence, int query) {
  KeyLimits keys{0, sequence.k_len};
  if constexpr (kCfg.has_limits) {
    const int own = query + (p.is_upper_left ? 0 : sequence.k_len - sequence.q_len);
    keys.lo = own - p.left > 0 ? own - p.left : 0;
    keys.hi = own + p.right + 1 < keys.hi ? own + p.right + 1 : keys.hi;
  }
  return keys;
}

// Queries [lo, hi) that see a key, counted likewise: the same limits read the other way round.
struct QueryLimits {
  int lo, hi;
};

template <AttnConfig kCfg>
REGARD_DEVICE QueryLimits query_limits(const ProblemParams& p, const Sequence& sequence, int key) {
  QueryLimits queries{0, sequence.q_len};
  if constexpr (kCfg.has_limits) {
    const int own = key - (p.is_upper_left ? 0 : sequence.k_len - sequence.q_len);
    queries.lo = own - p.right > 0 ? own - p.right : 0;
    queries.hi = own + p.left + 1 < queries.hi ? own + p.left + 1 : queries.hi;
  }
  return queries;
}

}  // namespace regard::gpu
