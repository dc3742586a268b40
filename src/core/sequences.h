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
constexpr bool is_paged(const Problem& problem) { return problem.pages.table != nullptr; }

constexpr int64_t num_sequences(const Problem& problem) {
  return is_packed(problem) ? problem.documents.count : problem.q.batch;
}

// Queries and keys of sequence `index` in [0, num_sequences(problem)); both may be empty. With
// pages k_begin is 0: keys are found through the table.
constexpr Sequence sequence_at(const Problem& problem, int64_t index) {
  Sequence sequence{.index = index,
                    .batch = index,
                    .q_begin = 0,
                    .q_len = problem.q.seq,
                    .k_begin = 0,
                    .k_len = problem.k.seq};
  const Documents& documents = problem.documents;
  if (is_packed(problem)) {
    sequence.batch = 0;
    sequence.q_begin = documents.q_offsets[index];
    sequence.q_len = documents.q_lengths != nullptr
                         ? documents.q_lengths[index]
                         : documents.q_offsets[index + 1] - sequence.q_begin;
  }
  if (is_paged(problem)) {
    sequence.k_len = problem.pages.lengths[index];
  } else if (is_packed(problem)) {
    sequence.k_begin = documents.k_offsets[index];
    sequence.k_len = documents.k_lengths != nullptr
                         ? documents.k_lengths[index]
                         : documents.k_offsets[index + 1] - sequence.k_begin;
  }
  return sequence;
}

// Where key `key` of a sequence lies in k and v.
struct KeyPlace {
  int64_t batch = 0, seq = 0;
};
constexpr KeyPlace key_place(const Problem& problem, const Sequence& sequence, int64_t key) {
  if (!is_paged(problem)) {
    return {sequence.batch, sequence.k_begin + key};
  }
  const Pages& pages = problem.pages;
  const int64_t page_size = problem.k.seq;
  const int64_t row = pages.starts != nullptr ? pages.starts[sequence.index] + key : key;
  return {pages.table[sequence.index * pages.stride + row / page_size], row % page_size};
}

// Key/value head that serves a query head: heads come in groups of Hq / Hkv neighbours.
constexpr int64_t kv_head_of(const Problem& problem, int64_t q_head) {
  return q_head / (problem.q.heads / problem.k.heads);
}

}  // namespace regard::core
