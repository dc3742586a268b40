#include "tune/model/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace tune::rows {
namespace {

// Widths below, at and beyond whole vectors of every target.
const std::vector<int64_t> kWidths = {1, 3, 16, 37, 64, 131};

std::vector<float> wave(int64_t count, double frequency) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(2.0 * std::sin(frequency * static_cast<double>(i + 1))));
  }
  return values;
}

Matrix matrix(std::vector<float>& values, int64_t width) {
  return {values.data(), Element::f32, width};
}

TEST(RowKernels, CrossEntropy_IsTheDoubleResultAndItsGradientSumsToZero) {
  for (const int64_t width : kWidths) {
    std::vector<float> logits = wave(2 * width, 0.37);
    const std::vector<float> before = logits;
    const std::vector<int64_t> targets = {0, width - 1};
    std::vector<float> losses(2);
    cross_entropy(matrix(logits, width), targets.data(), losses.data(), true, {0, 2});
    for (int64_t r = 0; r < 2; ++r) {
      double sum = 0.0, gradient_sum = 0.0;
      for (int64_t i = 0; i < width; ++i)
        sum += std::exp(before[static_cast<size_t>(r * width + i)]);
      for (int64_t i = 0; i < width; ++i)
        gradient_sum += logits[static_cast<size_t>(r * width + i)];
      const auto target = static_cast<size_t>(r * width + targets[static_cast<size_t>(r)]);
      EXPECT_NEAR(losses[static_cast<size_t>(r)], std::log(sum) - before[target], 1e-5);
      EXPECT_NEAR(logits[target], std::exp(before[target]) / sum - 1.0, 1e-6);
      EXPECT_NEAR(gradient_sum, 0.0, 1e-5);
    }
  }
}

TEST(RowKernels, CrossEntropyOfHugeLogits_StaysFinite) {
  std::vector<float> logits = {3e4f, -3e4f, 2.9e4f};
  const int64_t target = 0;
  float loss = -1.0f;
  cross_entropy(matrix(logits, 3), &target, &loss, true, {0, 1});
  EXPECT_EQ(loss, 0.0f);
  EXPECT_EQ(logits[1], 0.0f);
}

TEST(RowKernels, Rotate_TurnsEveryPairAndBack) {
  constexpr int64_t kHeadDim = 6, kHeads = 3, kRows = 4, kHalf = kHeadDim / 2;
  std::vector<float> x = wave(kRows * kHeads * kHeadDim, 0.7), cos, sin;
  for (int64_t i = 0; i < kRows * kHalf; ++i) {
    cos.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(i))));
    sin.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(i))));
  }
  const std::vector<float> before = x;
  const Matrix view = matrix(x, kHeads * kHeadDim);
  rotate(view, view, cos.data(), sin.data(), kHeadDim, 1.0f, {0, kRows});
  // row 2, head 1, pair 1: angle index 2 * 3 + 1
  const size_t first = 2 * kHeads * kHeadDim + kHeadDim + 1;
  EXPECT_NEAR(x[first], before[first] * cos[7] - before[first + kHalf] * sin[7], 1e-6);
  EXPECT_NEAR(x[first + kHalf], before[first + kHalf] * cos[7] + before[first] * sin[7], 1e-6);
  rotate(view, view, cos.data(), sin.data(), kHeadDim, -1.0f, {0, kRows});
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], before[i], 1e-5);
}

TEST(RowKernels, Dropout_KeepsTheShareAndTheMeanAndNeverTheSameMask) {
  constexpr int64_t kCount = 200000;
  std::vector<float> ones(kCount, 1.0f), first(kCount), second(kCount), again(kCount);
  const auto draw = [&](std::vector<float>& out, uint64_t seed, uint64_t stream) {
    dropout(matrix(ones, 100), matrix(out, 100), dropout_key(seed, stream), 0.3f, false,
            {0, kCount / 100});
  };
  draw(first, 5, 1);
  draw(second, 5, 2);
  draw(again, 5, 1);
  EXPECT_EQ(first, again);
  double kept = 0.0, both = 0.0, neighbours = 0.0;
  for (size_t i = 0; i + 1 < first.size(); ++i) {
    kept += first[i] != 0.0f;
    both += first[i] != 0.0f && second[i] != 0.0f;
    neighbours += first[i] != 0.0f && first[i + 1] != 0.0f;
    EXPECT_FLOAT_EQ(first[i], first[i] != 0.0f ? 1.0f / 0.7f : 0.0f);
  }
  // Standard deviation of each share is about 0.0011.
  EXPECT_NEAR(kept / kCount, 0.7, 0.006);
  EXPECT_NEAR(both / kCount, 0.49, 0.006);
  EXPECT_NEAR(neighbours / kCount, 0.49, 0.006);
}

TEST(RowKernels, Bf16_RoundsToNearestEvenAndKeepsNan) {
  const float gate_value = std::numeric_limits<float>::quiet_NaN();
  uint32_t bits;
  std::memcpy(&bits, &gate_value, sizeof(bits));
  const auto nan_half = static_cast<uint16_t>(bits >> 16);
  // 1.0 + 2^-8 lies between 0x3F80 and 0x3F81 (even: 0x3F80); 1 + 3 * 2^-8 between 0x3F81 and
  // 0x3F82 (even: 0x3F82).
  std::vector<uint16_t> h = {0x3F80, 0x3F81, nan_half}, delta = {0x3B80, 0x3B80, 0x3F80};
  std::vector<uint16_t> sum(3), normed(3);
  const std::vector<float> weight(3, 1.0f);
  float rstd = 0.0f;
  const auto view = [](std::vector<uint16_t>& values) {
    return Matrix{values.data(), Element::bf16, 3};
  };
  add_rms_norm(view(h), view(delta), weight.data(), 1e-5f, view(sum), view(normed), &rstd, {0, 1});
  EXPECT_EQ(sum[0], 0x3F80);
  EXPECT_EQ(sum[1], 0x3F82);
  EXPECT_EQ(sum[2] & 0x7FC0, 0x7FC0);
}

}  // namespace
}  // namespace tune::rows
