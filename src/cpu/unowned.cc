#include "cpu/unowned.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "core/mask.h"
#include "core/sequences.h"

namespace regard::cpu {
namespace {

using core::KeyInterval;

// Intervals of [0, end) outside all of `owned`.
std::vector<KeyInterval> gaps_between(std::vector<KeyInterval> owned, int64_t end) {
  std::sort(owned.begin(), owned.end(),
            [](const KeyInterval& a, const KeyInterval& b) { return a.lo < b.lo; });
  std::vector<KeyInterval> gaps;
  int64_t covered = 0;
  for (const KeyInterval& interval : owned) {
    if (interval.lo > covered) {
      gaps.push_back({covered, interval.lo});
    }
    covered = std::max(covered, interval.hi);
  }
  if (covered < end) {
    gaps.push_back({covered, end});
  }
  return gaps;
}

std::vector<KeyInterval> unowned_queries(const Problem& problem) {
  if (!core::is_packed(problem) || problem.documents.q_lengths == nullptr) {
    return {};
  }
  std::vector<KeyInterval> owned;
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    owned.push_back({sequence.q_begin, sequence.q_begin + sequence.q_len});
  }
  return gaps_between(std::move(owned), problem.q.seq);
}

std::vector<KeyInterval> unowned_keys(const Problem& problem) {
  if (!core::is_packed(problem) || problem.documents.k_lengths == nullptr) {
    return {};
  }
  std::vector<KeyInterval> owned;
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    owned.push_back({sequence.k_begin, sequence.k_begin + sequence.k_len});
  }
  return gaps_between(std::move(owned), problem.k.seq);
}

// Packed rows have batch 1. Zero has all bits clear in every dtype.
void clear_rows(const View& view, const std::vector<KeyInterval>& intervals) {
  const int64_t bytes = core::bytes_of(view.dtype);
  for (const KeyInterval& rows : intervals) {
    for (int64_t seq = rows.lo; seq < rows.hi; ++seq) {
      for (int64_t head = 0; head < view.heads; ++head) {
        std::memset(static_cast<char*>(view.data) + core::row_offset(view, 0, seq, head) * bytes, 0,
                    static_cast<size_t>(view.dim * bytes));
      }
    }
  }
}

}  // namespace

void write_unowned_outputs(const Problem& problem, const ForwardOutputs& outputs) {
  const std::vector<KeyInterval> queries = unowned_queries(problem);
  clear_rows(outputs.o, queries);
  if (outputs.lse.data == nullptr) {
    return;
  }
  for (const KeyInterval& rows : queries) {
    for (int64_t head = 0; head < problem.q.heads; ++head) {
      std::fill_n(outputs.lse.data + head * outputs.lse.stride_head + rows.lo, rows.hi - rows.lo,
                  -std::numeric_limits<float>::infinity());
    }
  }
}

void write_unowned_gradients(const Problem& problem, const BackwardTensors& tensors) {
  clear_rows(tensors.dq, unowned_queries(problem));
  const std::vector<KeyInterval> keys = unowned_keys(problem);
  clear_rows(tensors.dk, keys);
  clear_rows(tensors.dv, keys);
}

}  // namespace regard::cpu
