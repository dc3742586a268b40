// Which keys a query may see, from positions alone: documents, causal, window, chunks.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

inline constexpr float kLog2E = 1.4426950408889634f;

// One sequence: a batch row or a document.
struct Sequence {
  int index;           // of all sequences: first word of the dropout counter
  int batch;           // batch row of the operands
  int q_begin, q_len;  // in the row
  int k_begin, k_len;  // k_begin of pages: 0
};

// Length of document `index`: its own, or the distance to the next one's begin.
REGARD_DEVICE int document_length(const int* offsets, const int* lengths, int index) {
  return lengths != nullptr ? load_global(lengths + index)
                            : load_global(offsets + index + 1) - load_global(offsets + index);
}

template <AttnConfig kCfg>
REGARD_DEVICE Sequence sequence_at(const ProblemParams& p, int index) {
  Sequence sequence{index, index, 0, p.q_len, 0, p.k_len};
  if constexpr (kCfg.is_packed) {
    sequence.batch = 0;
    sequence.q_begin = load_global(p.q_offsets + index);
    sequence.q_len = document_length(p.q_offsets, kCfg.has_lengths ? p.q_lengths : nullptr, index);
  }
  if constexpr (kCfg.is_paged) {
    sequence.k_len = load_global(p.k_lengths + index);
  } else if constexpr (kCfg.is_packed) {
    sequence.k_begin = load_global(p.k_offsets + index);
    sequence.k_len = document_length(p.k_offsets, kCfg.has_lengths ? p.k_lengths : nullptr, index);
  }
  return sequence;
}

// Whether row `row` of the packed queries (or keys) belongs to some document. Only with lengths of
// their own do documents leave rows out.
REGARD_DEVICE bool is_owned(const int* offsets, const int* lengths, int num_documents, int row) {
  if (lengths == nullptr) {
    return true;
  }
  bool is_found = false;
  for (int i = 0; i < num_documents; ++i) {
    const int begin = load_global(offsets + i);
    is_found = is_found || (row >= begin && row < begin + load_global(lengths + i));
  }
  return is_found;
}

// One query head of one sequence.
struct Head {
  Sequence sequence;
  int index, kv_index;
  float alibi_slope;  // of has_alibi
  float sink_log2;    // of has_sink: logit * log2(e)
  int chunk_shift;    // of has_chunks
};

template <AttnConfig kCfg>
REGARD_DEVICE Head head_at(const ProblemParams& p, const Sequence& sequence, int index) {
  Head head{sequence, index, index / p.heads_per_kv_head, 0.0f, 0.0f, 0};
  if constexpr (kCfg.has_alibi) {
    head.alibi_slope = load_global(p.slopes + index + sequence.batch * p.slopes_stride_batch);
  }
  if constexpr (kCfg.has_sink) {
    head.sink_log2 = load_global(p.sink + index) * kLog2E;
  }
  if constexpr (kCfg.has_chunks) {
    head.chunk_shift = index >= p.first_shifted_head ? p.chunk_shift : 0;
  }
  return head;
}

// First position of the chunk that holds `position`; both may be negative.
REGARD_DEVICE int chunk_begin(const ProblemParams& p, const Head& head, int position) {
  const int from_cut = position - head.chunk_shift;
  const int chunk =
      from_cut >= 0 ? from_cut / p.chunk_size : -((p.chunk_size - 1 - from_cut) / p.chunk_size);
  return head.chunk_shift + chunk * p.chunk_size;
}

// Keys [lo, hi) of a query, counted from the sequence's first; lo >= hi: none. Both grow with the
// query.
struct KeyLimits {
  int lo, hi;

  REGARD_DEVICE bool contain(int key) const { return key >= lo && key < hi; }
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyLimits key_limits(const ProblemParams& p, const Head& head, int query) {
  const Sequence& sequence = head.sequence;
  const int to_last = sequence.k_len - sequence.q_len;  // from a query to the key aligned with it
  KeyLimits keys{0, sequence.k_len};
  if constexpr (kCfg.has_limits) {
    const int own = query + (p.is_upper_left ? 0 : to_last);
    keys.lo = own - p.left > 0 ? own - p.left : 0;
    keys.hi = own + p.right + 1 < keys.hi ? own + p.right + 1 : keys.hi;
  }
  if constexpr (kCfg.has_chunks) {
    const int begin = chunk_begin(p, head, query + to_last), end = begin + p.chunk_size;
    keys.lo = begin > keys.lo ? begin : keys.lo;
    keys.hi = end < keys.hi ? end : keys.hi;
  }
  return keys;
}

// Queries [lo, hi) that see a key, counted likewise: the same limits read the other way round.
struct QueryLimits {
  int lo, hi;

  REGARD_DEVICE bool contain(int query) const { return query >= lo && query < hi; }
};

template <AttnConfig kCfg>
REGARD_DEVICE QueryLimits query_limits(const ProblemParams& p, const Head& head, int key) {
  const Sequence& sequence = head.sequence;
  const int to_last = sequence.k_len - sequence.q_len;
  QueryLimits queries{0, sequence.q_len};
  if constexpr (kCfg.has_limits) {
    const int own = key - (p.is_upper_left ? 0 : to_last);
    queries.lo = own - p.right > 0 ? own - p.right : 0;
    queries.hi = own + p.left + 1 < queries.hi ? own + p.left + 1 : queries.hi;
  }
  if constexpr (kCfg.has_chunks) {
    const int begin = chunk_begin(p, head, key) - to_last, end = begin + p.chunk_size;
    queries.lo = begin > queries.lo ? begin : queries.lo;
    queries.hi = end < queries.hi ? end : queries.hi;
  }
  return queries;
}

}  // namespace regard::gpu
