// One query head of one sequence, as the plain formula's dense matrices.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/dtype.h"
#include "core/sequences.h"
#include "program/evaluate.h"
#include "regard/problem.h"

namespace regard::testing {

using Matrix = std::vector<float>;  // row-major

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

inline float rounded(float value, DType dtype) {
  switch (dtype) {
    case DType::f16:
      return core::f32_from_f16(core::f16_from_f32(value));
    case DType::bf16:
      return core::f32_from_bf16(core::bf16_from_f32(value));
    default:
      return value;
  }
}

// One (sequence, query head) of the problem as dense matrices.
struct HeadProblem {
  const Problem& problem;
  core::Sequence sequence;
  int64_t head, kv_head;
  DType dtype;  // of every intermediate result

  int64_t num_queries() const { return sequence.q_len; }
  int64_t num_keys() const { return sequence.k_len; }
  float round(float value) const { return rounded(value, dtype); }
  std::optional<program::Evaluator> score_program() const {
    if (problem.score_program.program == nullptr) {
      return std::nullopt;
    }
    return program::Evaluator(problem.score_program);
  }
  ProgramPoint point(int64_t query, int64_t key, float score) const {
    return program::point_of(problem, sequence, head, query, key, score);
  }

  void append_row(const View& view, int64_t batch, int64_t seq, int64_t view_head,
                  const float* factors, Matrix& rows) const {
    const float factor = factors == nullptr
                             ? 1.0f
                             : factors[sequence.index * problem.descale.stride_batch + kv_head];
    const int64_t row = core::row_offset(view, batch, seq, view_head);
    for (int64_t d = 0; d < view.dim; ++d) {
      rows.push_back(core::load(view.data, view.dtype, row + d) * factor);
    }
  }
  Matrix queries(const View& view, const float* factors = nullptr) const {
    Matrix rows;
    for (int64_t i = 0; i < sequence.q_len; ++i) {
      append_row(view, sequence.batch, sequence.q_begin + i, head, factors, rows);
    }
    return rows;
  }
  Matrix keys(const View& view, const float* factors) const {
    Matrix rows;
    for (int64_t j = 0; j < sequence.k_len; ++j) {
      const core::KeyPlace place = core::key_place(problem, sequence, j);
      append_row(view, place.batch, place.seq, kv_head, factors, rows);
    }
    return rows;
  }
};

}  // namespace regard::testing
