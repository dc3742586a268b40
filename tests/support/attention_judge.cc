#include "tests/support/attention_judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/support/tensor_difference.h"

namespace regard::testing {
namespace {

float rounded(float value, DType dtype) {
  uint16_t half[2];
  core::store(half, dtype, 0, value);
  return core::load(half, dtype, 0);
}

double largest_row_norm(const std::vector<float>& values, int64_t dim) {
  double largest = 0;
  for (size_t row = 0; row < values.size(); row += static_cast<size_t>(dim)) {
    double sum = 0;
    for (size_t d = row; d < row + static_cast<size_t>(dim); ++d) {
      sum += std::isfinite(values[d]) ? double{values[d]} * double{values[d]} : 0.0;
    }
    largest = std::max(largest, std::sqrt(sum));
  }
  return largest;
}

}  // namespace

AttentionJudge::AttentionJudge(const AttentionCase& config)
    : config_(config), operands_(config), exact_(operands_) {
  reference::forward(problem(), exact_.outputs());
  if (has_backward(problem())) {
    reference::backward(problem(), exact_.tensors(operands_));
  }
  EXPECT_TRUE(exact_.guards_intact()) << "the reference wrote outside the outputs";
  plain_ = plain_formula(problem(), operands_.d_o(), operands_.d_lse());
}

AttentionJudge::Noise AttentionJudge::noise() const {
  const std::vector<float> o = exact_.o.dense(), d_o = dense(operands_.d_o());
  const auto value_dim = static_cast<size_t>(config_.dv);
  double largest_norm = 0;
  for (size_t row = 0; row < o.size(); row += value_dim) {
    double norm = 0;
    for (size_t d = row; d < row + value_dim; ++d) {
      norm += std::pow(double{o[d]} * double{d_o[d]}, 2);
    }
    largest_norm = std::max(largest_norm, std::sqrt(norm));
  }
  return {.relative = 0x1p-23 * (1 + largest_magnitude(exact_.lse.dense())),
          .delta = (half_ulp(config_.result_dtype()) + 0x1p-24 * static_cast<double>(config_.dv)) *
                   largest_norm};
}

// At most 2 (with softcap 3) times the error of the plain formula in the same dtype, plus two
// roundings of values of the tensor's size, plus `noise`.
void AttentionJudge::expect_tensor(const char* name, const std::vector<float>& got,
                                   const std::vector<float>& exact, const std::vector<float>& plain,
                                   double noise) const {
  ASSERT_EQ(got.size(), exact.size()) << name;
  ASSERT_EQ(plain.size(), exact.size()) << name;
  const DType dtype = config_.result_dtype();
  std::vector<float> shifted;
  for (const float value : exact) {
    shifted.push_back(rounded(rounded(value + 0.3f, dtype) - 0.3f, dtype));
  }
  const double factor = config_.softcap > 0 ? 3 : 2;
  const double plain_error = largest_difference(plain, exact);
  const double allowed = factor * plain_error + 2 * largest_difference(shifted, exact) + noise;
  EXPECT_LE(largest_difference(got, exact), allowed)
      << name << ": plain formula's error " << plain_error << ", largest value "
      << largest_magnitude(exact);
}

void AttentionJudge::expect_right(const AttentionResults& got) const {
  expect_forward_right(got);
  const Noise noise = this->noise();
  const auto expect = [&](const char* name, const GuardedTensor& tensor, const GuardedTensor& exact,
                          const std::vector<float>& plain, double delta_factor) {
    const std::vector<float> right = exact.dense();
    expect_tensor(name, tensor.dense(), right, plain,
                  noise.relative * largest_magnitude(right) + delta_factor * noise.delta);
  };
  const double scale = std::abs(problem().scale);
  expect("dq", got.dq, exact_.dq, plain_.dq, scale * largest_magnitude(dense(problem().k)));
  expect("dk", got.dk, exact_.dk, plain_.dk, scale * largest_magnitude(dense(problem().q)));
  expect("dv", got.dv, exact_.dv, plain_.dv, 0);
  if (config_.asks_score_gradients) {
    expect_score_gradients(got);
  }
}

// Each is a sum over rows of p * (g - delta) with sum p <= 1 in a row, so that a row's error is at
// most that of its delta plus that of its weights times 2 |g| + |dLSE|, |g| <= |dO| |V|. Rows err
// independently: the sum of n errs by sqrt(n) of that.
void AttentionJudge::expect_score_gradients(const AttentionResults& got) const {
  const View& q = problem().q;
  const Noise noise = this->noise();
  const double largest_g = largest_row_norm(dense(operands_.d_o()), config_.dv) *
                           largest_row_norm(dense(problem().v), config_.dv) /
                           (1 - double{problem().dropout.probability});
  const double largest_d_lse = largest_magnitude(operands_.d_lse_values());
  const double row_noise = noise.delta + noise.relative * (2 * largest_g + largest_d_lse);
  // `parts`: independent sums that the rows are shared among.
  const auto expect = [&](const char* name, const GuardedTensor& tensor, const GuardedTensor& exact,
                          const std::vector<float>& plain, int64_t parts, double factor) {
    if (parts > 0) {
      const auto rows = static_cast<double>(q.batch * q.heads * q.seq / parts);
      expect_tensor(name, tensor.dense(), exact.dense(), plain,
                    std::sqrt(rows) * row_noise * factor);
    }
  };
  const Shape bias = shape_of(got.d_bias.view());
  expect("d_bias", got.d_bias, exact_.d_bias, plain_.d_bias, bias.batch * bias.seq * bias.heads, 1);
  expect("d_slopes", got.d_slopes, exact_.d_slopes, plain_.d_slopes,
         shape_of(got.d_slopes.view()).num_elements(),
         static_cast<double>(std::max(q.seq, problem().k.seq)));
  expect("d_sink", got.d_sink, exact_.d_sink, plain_.d_sink,
         shape_of(got.d_sink.view()).num_elements(), 1);
  // A tensor's element meets the score, a distance, or 1.
  const double largest_score = std::abs(problem().scale) *
                               largest_row_norm(dense(problem().q), config_.d) *
                               largest_row_norm(dense(problem().k), config_.d);
  for (size_t i = 0; i < got.d_tensors.size(); ++i) {
    expect("d_tensors", got.d_tensors[i], exact_.d_tensors[i], plain_.d_tensors[i], 1,
           std::max({1.0, static_cast<double>(std::max(q.seq, problem().k.seq)), largest_score}));
  }
}

void AttentionJudge::expect_forward_right(const AttentionResults& got) const {
  const std::vector<float> o = exact_.o.dense();
  expect_tensor("o", got.o.dense(), o, plain_.o, noise().relative * largest_magnitude(o));
  // LSE is f32 whatever the operands are.
  const std::vector<float> lse = exact_.lse.dense();
  EXPECT_LE(largest_difference(got.lse.dense(), lse), 2e-6 * (1 + largest_magnitude(lse)));
  EXPECT_TRUE(got.guards_intact()) << "wrote outside the outputs";
}

}  // namespace regard::testing
