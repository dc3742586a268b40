// The arithmetic that quantises operands.
#include "core/int8_groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace regard::core {
namespace {

constexpr ScaleGroups kAllGroups[] = {ScaleGroups::per_block, ScaleGroups::per_warp,
                                      ScaleGroups::per_thread};

TEST(Int8Groups, Groups_AreThePublishedOnes) {
  EXPECT_EQ(query_group(ScaleGroups::per_block, 127), 0);
  EXPECT_EQ(query_group(ScaleGroups::per_block, 128), 1);
  EXPECT_EQ(query_group(ScaleGroups::per_warp, 33), 1);
  EXPECT_EQ(key_group(ScaleGroups::per_warp, 63), 0);
  EXPECT_EQ(key_group(ScaleGroups::per_warp, 64), 1);
  // Queries 3, 11, 19, 27 of the first 32 share a scale, and so do keys 2, 3, 10, 11, 18, ...
  for (const int64_t query : {3, 11, 19, 27}) {
    EXPECT_EQ(query_group(ScaleGroups::per_thread, query), 3);
  }
  EXPECT_EQ(query_group(ScaleGroups::per_thread, 35), 11);
  for (const int64_t key : {2, 3, 10, 11, 58, 59}) {
    EXPECT_EQ(key_group(ScaleGroups::per_thread, key), 1);
  }
  EXPECT_EQ(key_group(ScaleGroups::per_thread, 64 + 7), 7);
}

TEST(Int8Groups, EveryRow_HasAGroupInRange) {
  for (const ScaleGroups groups : kAllGroups) {
    for (const int64_t rows : {1, 5, 31, 64, 65, 129, 300}) {
      for (int64_t row = 0; row < rows; ++row) {
        EXPECT_LT(query_group(groups, row), num_query_groups(groups, rows));
        EXPECT_LT(key_group(groups, row), num_key_groups(groups, rows));
      }
    }
    EXPECT_EQ(num_key_groups(groups, 0), 0);
  }
}

TEST(Int8Scale, DequantisedValues_AreExactAndWithinHalfAStep) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (int trial = 0; trial < 1000; ++trial) {
    float row[16];
    for (float& x : row) x = std::ldexp(normal(random), static_cast<int>(random() % 40) - 20);
    const float scale = scale_of_group(max_magnitude_bits(row, 16, 0), kInt8Steps);
    for (const float x : row) {
      const int8_t value = int8_of(x, scale);
      const float back = static_cast<float>(value) * scale;
      EXPECT_EQ(double{back}, double{scale} * value);  // no rounding in the product
      EXPECT_LE(std::abs(double{back} - double{x}), 0.5000001 * double{scale});
    }
  }
}

TEST(Int8Scale, Rounding_IsToNearestEven) {
  EXPECT_EQ(int8_of(2.5f, 1.0f), 2);
  EXPECT_EQ(int8_of(3.5f, 1.0f), 4);
  EXPECT_EQ(int8_of(-2.5f, 1.0f), -2);
  EXPECT_EQ(int8_of(127.0f, 1.0f), 127);
  EXPECT_EQ(int8_of(-127.0f, 1.0f), -127);
}

TEST(Int8Scale, ZeroRows_StayZeroAndFinite) {
  const float zeros[4] = {};
  const float scale = scale_of_group(max_magnitude_bits(zeros, 4, 0), kInt8Steps);
  EXPECT_GT(scale, 0.0f);
  EXPECT_TRUE(std::isfinite(1.0f / scale));
  EXPECT_EQ(int8_of(0.0f, scale), 0);
}

TEST(Int8Scale, NanAndInfinity_ReachTheScale) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& row : {std::vector{1.0f, nan, 2.0f}, {nan, infinity, 0.0f}}) {
    EXPECT_TRUE(std::isnan(scale_of_group(max_magnitude_bits(row.data(), 3, 0), kInt8Steps)));
  }
  const float row[2] = {1.0f, -infinity};
  EXPECT_TRUE(std::isinf(scale_of_group(max_magnitude_bits(row, 2, 0), kInt8Steps)));
}

TEST(MeanOfRows, IsTheMean_AndZeroOfNoRows) {
  std::vector<float> rows(200 * 2);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i % 2 == 0 ? 3.0f : static_cast<float>(i / 2);
  float block_sum[2], mean[2];
  const auto load = [&](int64_t row) { return rows.data() + 2 * row; };
  mean_of_rows(200, 2, load, block_sum, mean);
  EXPECT_EQ(mean[0], 3.0f);
  EXPECT_EQ(mean[1], 99.5f);
  mean_of_rows(0, 2, load, block_sum, mean);
  EXPECT_EQ(mean[0], 0.0f);
}

// Against the conversions of core/dtype.h, which saturate nowhere (f16) or everywhere (e4m3).
TEST(ShortFloat, Rounding_IsThatOfTheConversions) {
  std::mt19937 random(6);
  for (int trial = 0; trial < 200000; ++trial) {
    const float x = float_of(static_cast<uint32_t>(random()));
    if (!std::isfinite(x)) continue;
    const float f16 = f32_from_f16(f16_from_f32(x));
    EXPECT_EQ(kShortF16.rounded(x), std::isinf(f16) ? std::copysign(65504.0f, x) : f16) << x;
    EXPECT_EQ(kShortE4m3.rounded(x), f32_from_e4m3(e4m3_from_f32(x))) << x;
    const float small = std::ldexp(x, -std::ilogb(x) - static_cast<int>(random() % 26));
    EXPECT_EQ(kShortF16.rounded(small), f32_from_f16(f16_from_f32(small))) << small;
    EXPECT_EQ(kShortE4m3.rounded(small), f32_from_e4m3(e4m3_from_f32(small))) << small;
  }
  EXPECT_TRUE(std::isnan(kShortF16.rounded(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(kShortF16.rounded(std::numeric_limits<float>::infinity()), 65504.0f);
}

}  // namespace
}  // namespace regard::core
