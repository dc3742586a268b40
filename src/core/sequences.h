// Sequences: a Problem taken apart into computations that share nothing. Every back end loops over
// them, so batches and packed documents are one case.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

// Queries q_begin .. q_begin + q_len of row `batch` attend to keys k_begin .. k_begin + k_len of
// the same row and to nothing else. `index` counts sequences (batch row, or document when packed):
// it is the first word of the dropout counter.
struct Sequence {
  int64_t index = 0;
  int64_t batch = 0;
  int64_t q_begin = 0, q_len = 0;
  int64_t k_begin = 0, k_len = 0;
};

constexpr bool is_packed(const Problem& problem) { return problem.documents.count > 0; }

constexpr int64_t num_sequences(const Problem& problem) {
  return is_packed(problem) ? problem.documents.count : problem.q.batch;
}

// index in [0, num_sequences(problem)). Documents may be empty on either side.
constexpr Sequence sequence_at(const Problem& problem, int64_t index) {
  if (!is_packed(problem)) {
    return {.index = index,
            .batch = index,
            .q_begin = 0,
            .q_len = problem.q.seq,
            .k_begin = 0,
            .k_len = problem.k.seq};
  }
  const Documents& documents = problem.documents;
  const int64_t q_begin = documents.q_offsets[index];
  const int64_t k_begin = documents.k_offsets[index];
  return {.index = index,
          .batch = 0,
          .q_begin = q_begin,
          .q_len = documents.q_offsets[index + 1] - q_begin,
          .k_begin = k_begin,
          .k_len = documents.k_offsets[index + 1] - k_begin};
}

// Key/value head that serves a query head: heads come in groups of Hq / Hkv neighbours.
constexpr int64_t kv_head_of(const Problem& problem, int64_t q_head) {
  return q_head / (problem.q.heads / problem.k.heads);
}

}  // namespace regard::core
