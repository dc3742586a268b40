// The plain formula's gradients of what is added to scores, and of the score program's tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "core/mask.h"
#include "program/evaluate.h"
#include "tests/support/case_programs.h"
#include "tests/support/plain_formula.h"
#include "tests/support/plain_head.h"

namespace regard::testing {

// Sums the gradients of what is added to scores.
class PlainScoreGradients {
 public:
  PlainScoreGradients(const Problem& problem, PlainResults& out) : problem_(problem), out_(out) {
    const View &q = problem.q, &k = problem.k;
    const auto extent = [](int64_t stride, int64_t length) { return stride == 0 ? 1 : length; };
    if (const BiasTensor& bias = problem.bias; bias.data != nullptr) {
      heads_ = extent(bias.stride_head, q.heads);
      sq_ = extent(bias.stride_q, q.seq);
      sk_ = extent(bias.stride_k, k.seq);
      out.d_bias.assign(
          static_cast<size_t>(extent(bias.stride_batch, q.batch) * sq_ * heads_ * sk_), 0.0f);
    }
    if (problem.alibi.slopes != nullptr) {
      out.d_slopes.assign(
          static_cast<size_t>(extent(problem.alibi.stride_batch, q.batch) * q.heads), 0.0f);
    }
    if (problem.sink.logits != nullptr) {
      out.d_sink.assign(static_cast<size_t>(q.heads), 0.0f);
    }
    for (int32_t i = 0; i < problem.score_program.num_tensors; ++i) {
      out.d_tensors.emplace_back(
          static_cast<size_t>(num_elements(problem.score_program.tensors[i])), 0.0f);
    }
  }

  void add(const HeadProblem& at, int64_t query, int64_t key, float dx) {
    const core::Sequence& sequence = at.sequence;
    if (const BiasTensor& bias = problem_.bias; bias.data != nullptr) {
      const int64_t batch = bias.stride_batch == 0 ? 0 : sequence.batch;
      const int64_t row = bias.stride_q == 0 ? 0 : sequence.q_begin + query;
      const int64_t head = bias.stride_head == 0 ? 0 : at.head;
      const int64_t column = bias.stride_k == 0 ? 0 : sequence.k_begin + key;
      out_.d_bias[static_cast<size_t>(((batch * sq_ + row) * heads_ + head) * sk_ + column)] += dx;
    }
    if (problem_.alibi.slopes != nullptr) {
      const int64_t batch = problem_.alibi.stride_batch == 0 ? 0 : sequence.batch;
      out_.d_slopes[static_cast<size_t>(batch * problem_.q.heads + at.head)] -=
          dx * static_cast<float>(core::alibi_distance(sequence, query, key));
    }
  }
  void add_tensors(program::Evaluator& program, const ProgramPoint& point, float dx) {
    std::vector<program::ElementGradient> reads;
    program.d_tensors(point, reads);
    for (const program::ElementGradient& read : reads) {
      out_.d_tensors[static_cast<size_t>(read.tensor)][static_cast<size_t>(read.element)] +=
          dx * static_cast<float>(read.value);
    }
  }
  void add_sink(const HeadProblem& at, float gradient) {
    if (problem_.sink.logits != nullptr) {
      out_.d_sink[static_cast<size_t>(at.head)] += gradient;
    }
  }

 private:
  const Problem& problem_;
  PlainResults& out_;
  int64_t heads_ = 0, sq_ = 0, sk_ = 0;
};

}  // namespace regard::testing
