#include "reference/score_gradients.h"

#include <cstddef>

#include "core/mask.h"

namespace regard::reference {
namespace {

int64_t extent(int64_t stride, int64_t length) { return stride == 0 ? 1 : length; }
int64_t index(int64_t extent, int64_t position) { return extent == 1 ? 0 : position; }

size_t num_elements(const ProgramTensor& tensor) {
  int64_t elements = 1;
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    elements *= tensor.shape[axis];
  }
  return static_cast<size_t>(elements);
}

void write_floats(const std::vector<double>& values, float* to) {
  for (size_t i = 0; to != nullptr && i < values.size(); ++i) {
    to[i] = static_cast<float>(values[i]);
  }
}

}  // namespace

ScoreGradients::ScoreGradients(const Problem& problem, const BackwardTensors& tensors)
    : problem_(problem), tensors_(tensors) {
  const View &q = problem.q, &k = problem.k;
  if (const BiasGradient& d_bias = tensors.d_bias; d_bias.data != nullptr) {
    shape_ = {extent(d_bias.stride_batch, q.batch), extent(d_bias.stride_head, q.heads),
              extent(d_bias.stride_q, q.seq), extent(d_bias.stride_k, k.seq)};
    bias_.resize(static_cast<size_t>(shape_.batch * shape_.heads * shape_.sq * shape_.sk), 0.0);
  }
  if (tensors.d_slopes != nullptr) {
    slopes_.resize(static_cast<size_t>(extent(problem.alibi.stride_batch, q.batch) * q.heads), 0.0);
  }
  if (tensors.d_sink != nullptr) {
    sink_.resize(static_cast<size_t>(q.heads), 0.0);
  }
  for (int32_t i = 0; tensors.d_tensors != nullptr && i < problem.score_program.num_tensors; ++i) {
    const bool is_asked_for = tensors.d_tensors[i] != nullptr;
    program_tensors_.emplace_back(is_asked_for ? num_elements(problem.score_program.tensors[i]) : 0,
                                  0.0);
  }
}

int64_t ScoreGradients::slope_index(const RowPosition& at) const {
  return (problem_.alibi.stride_batch == 0 ? 0 : at.sequence.batch * problem_.q.heads) + at.head;
}

void ScoreGradients::add_score(Head& head, const RowPosition& at, const SeenKey& seen, double dx) {
  const core::Sequence& sequence = at.sequence;
  if (!bias_.empty()) {
    const int64_t row =
        (index(shape_.batch, sequence.batch) * shape_.heads + index(shape_.heads, at.head)) *
            shape_.sq +
        index(shape_.sq, sequence.q_begin + at.query);
    bias_[static_cast<size_t>(row * shape_.sk + index(shape_.sk, sequence.k_begin + seen.key))] +=
        dx;
  }
  if (!slopes_.empty()) {
    slopes_[static_cast<size_t>(slope_index(at))] -=
        dx * static_cast<double>(core::alibi_distance(sequence, at.query, seen.key));
  }
  if (!program_tensors_.empty()) {
    add_tensors(head, at, seen, dx);
  }
}

void ScoreGradients::add_tensors(Head& head, const RowPosition& at, const SeenKey& seen,
                                 double dx) {
  std::vector<program::ElementGradient> reads;
  head.score_program->d_tensors(
      program::point_of(problem_, at.sequence, at.head, at.query, seen.key, seen.capped), reads);
  for (const program::ElementGradient& read : reads) {
    std::vector<double>& sums = program_tensors_[static_cast<size_t>(read.tensor)];
    if (!sums.empty()) {
      sums[static_cast<size_t>(read.element)] += dx * read.value;
    }
  }
}

void ScoreGradients::add_sink(const RowPosition& at, double d_sink) {
  if (!sink_.empty()) {
    sink_[static_cast<size_t>(at.head)] += d_sink;
  }
}

void ScoreGradients::write() const {
  const BiasGradient& d_bias = tensors_.d_bias;
  size_t next = 0;
  for (int64_t batch = 0; batch < shape_.batch; ++batch) {
    for (int64_t head = 0; head < shape_.heads; ++head) {
      for (int64_t query = 0; query < shape_.sq; ++query) {
        for (int64_t key = 0; key < shape_.sk; ++key) {
          d_bias.data[batch * d_bias.stride_batch + head * d_bias.stride_head +
                      query * d_bias.stride_q + key * d_bias.stride_k] =
              static_cast<float>(bias_[next++]);
        }
      }
    }
  }
  write_floats(slopes_, tensors_.d_slopes);
  write_floats(sink_, tensors_.d_sink);
  for (size_t i = 0; i < program_tensors_.size(); ++i) {
    write_floats(program_tensors_[i], tensors_.d_tensors[i]);
  }
}

}  // namespace regard::reference
