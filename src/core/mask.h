// What causal masks, windows and chunks mean, row by row: each leaves a query one interval of keys.
#pragma once

#include <cstdint>

#include "core/sequences.h"
#include "regard/problem.h"

namespace regard::core {

// Keys [lo, hi) counted from the sequence's first key; empty is always {0, 0}.
struct KeyInterval {
  int64_t lo = 0, hi = 0;
  constexpr bool is_empty() const { return lo >= hi; }
  constexpr bool contains(int64_t key) const { return key >= lo && key < hi; }
};

// The key that lies on the diagonal of query 0; query i has its own at i + shift. Only upper_left
// pins the corners of the first query and first key; everything else pins the last ones.
constexpr int64_t diagonal_shift(Causal causal, int64_t q_len, int64_t k_len) {
  return causal == Causal::upper_left ? 0 : k_len - q_len;
}

// Keys that `causal` and `window` leave to query `query` (counted from the sequence's first query).
constexpr KeyInterval key_interval(Causal causal, const Window& window, int64_t q_len,
                                   int64_t k_len, int64_t query) {
  const int64_t position = query + diagonal_shift(causal, q_len, k_len);
  KeyInterval keys{0, k_len};
  if (causal != Causal::none && position + 1 < keys.hi) {
    keys.hi = position + 1;
  }
  // Compared as distances to the ends, which cannot overflow for a window of any size.
  if (window.left >= 0 && window.left < position) {
    keys.lo = position - window.left;
  }
  if (window.right >= 0 && window.right < k_len - 1 - position) {
    keys.hi = keys.hi < position + window.right + 1 ? keys.hi : position + window.right + 1;
  }
  return keys.lo < keys.hi ? keys : KeyInterval{};
}

// Keys of the query's own chunk; `shift` is that of its head. Queries before the first key (Sq >
// Sk) have a negative position and lie in chunks before it.
constexpr KeyInterval chunk_interval(int64_t size, int64_t shift, int64_t k_len, int64_t position) {
  const int64_t from_cut = position - shift;
  const int64_t chunk = from_cut >= 0 ? from_cut / size : -((size - 1 - from_cut) / size);
  const int64_t begin = shift + chunk * size;
  const int64_t lo = begin > 0 ? begin : 0;
  const int64_t hi = begin + size < k_len ? begin + size : k_len;
  return lo < hi ? KeyInterval{lo, hi} : KeyInterval{};
}

constexpr KeyInterval intersection(const KeyInterval& a, const KeyInterval& b) {
  const KeyInterval both{a.lo > b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi};
  return both.is_empty() ? KeyInterval{} : both;
}

// Keys that causal, window and chunks leave to a query of query head `head`.
constexpr KeyInterval key_interval(const Problem& problem, const Sequence& sequence, int64_t head,
                                   int64_t query) {
  const KeyInterval keys =
      key_interval(problem.causal, problem.window, sequence.q_len, sequence.k_len, query);
  const Chunks& chunks = problem.chunks;
  if (chunks.size == 0) {
    return keys;
  }
  return intersection(
      keys, chunk_interval(chunks.size, head >= chunks.first_shifted_head ? chunks.shift : 0,
                           sequence.k_len, query + sequence.k_len - sequence.q_len));
}

// |query position - key position| of ALiBi: always lower-right aligned, whatever the mask.
constexpr int64_t alibi_distance(const Sequence& sequence, int64_t query, int64_t key) {
  const int64_t difference = query + sequence.k_len - sequence.q_len - key;
  return difference < 0 ? -difference : difference;
}

}  // namespace regard::core
