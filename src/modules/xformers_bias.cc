// Masks that are one band over the whole row, and bias tensors.
#include "regard/xformers_bias.h"

#include <limits>

#include "core/dtype.h"
#include "modules/xformers_checks.h"

namespace regard::xformers {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

}  // namespace

std::vector<float> materialise(const AttentionBias& bias, const Problem& shape) {
  std::vector<float> values;
  const View &q = shape.q, &k = shape.k;
  values.reserve(static_cast<size_t>(q.batch * q.heads * q.seq * k.seq));
  for (int64_t batch = 0; batch < q.batch; ++batch) {
    for (int64_t head = 0; head < q.heads; ++head) {
      for (int64_t query = 0; query < q.seq; ++query) {
        for (int64_t key = 0; key < k.seq; ++key) {
          values.push_back(bias.value(shape, {batch, head, query, key}));
        }
      }
    }
  }
  return values;
}

bool Band::sees(int64_t num_queries, int64_t num_keys, int64_t query, int64_t key) const {
  const int64_t shift = causal == Causal::upper_left ? 0 : num_keys - num_queries;
  const int64_t distance = key - (query + shift);  // of the key behind the diagonal
  return (causal == Causal::none || distance <= 0) &&
         (window.left < 0 || distance >= -window.left) &&
         (window.right < 0 || distance <= window.right);
}

void BandMask::lower(Problem& problem) const {
  problem.causal = band_.causal;
  problem.window = band_.window;
}

float BandMask::value(const Problem& shape, const ScorePlace& at) const {
  return band_.sees(shape.q.seq, shape.k.seq, at.query, at.key) ? 0.0f : kMasked;
}

LowerTriangularMaskWithTensorBias LowerTriangularMask::add_bias(const BiasTensor& bias) const {
  return LowerTriangularMaskWithTensorBias(bias);
}

LowerTriangularFromBottomRightLocalAttentionMask
LowerTriangularFromBottomRightMask::make_local_attention(int64_t window_size) const {
  return LowerTriangularFromBottomRightLocalAttentionMask(window_size);
}

LowerTriangularFromBottomRightLocalAttentionMask::LowerTriangularFromBottomRightLocalAttentionMask(
    int64_t window_size)
    : BandMask(local_band(Causal::lower_right, window_size)) {}

LocalAttentionFromBottomRightMask::LocalAttentionFromBottomRightMask(int64_t window_left,
                                                                     int64_t window_right)
    : BandMask({.window = window_of(window_left, window_right)}) {}

void TensorBias::lower(Problem& problem) const { problem.bias = bias_; }

float TensorBias::value(const Problem&, const ScorePlace& at) const {
  return core::load(bias_.data, bias_.dtype,
                    at.batch * bias_.stride_batch + at.head * bias_.stride_head +
                        at.query * bias_.stride_q + at.key * bias_.stride_k);
}

void LowerTriangularMaskWithTensorBias::lower(Problem& problem) const {
  TensorBias::lower(problem);
  problem.causal = Causal::upper_left;
}

float LowerTriangularMaskWithTensorBias::value(const Problem& shape, const ScorePlace& at) const {
  return at.key <= at.query ? TensorBias::value(shape, at) : kMasked;
}

}  // namespace regard::xformers
