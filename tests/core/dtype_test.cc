#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace regard::core {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Bf16, EveryBitPattern_SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = f32_from_bf16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(value)))) << bits;
    } else {
      EXPECT_EQ(bf16_from_f32(value), bits);
    }
  }
}

TEST(F16, EveryBitPattern_SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = f32_from_f16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f32_from_f16(f16_from_f32(value)))) << bits;
    } else {
      EXPECT_EQ(f16_from_f32(value), bits);
    }
  }
}

// Nearest, and even at the half-way point: checked against the two neighbours of each value.
template <typename FromBits, typename ToBits>
void expect_nearest_even(FromBits from_bits, ToBits to_bits, uint32_t largest_finite) {
  for (uint32_t bits = 0; bits < largest_finite; ++bits) {
    const double low = from_bits(static_cast<uint16_t>(bits));
    const double high = from_bits(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(to_bits(middle), even) << bits;
    EXPECT_EQ(to_bits(std::nextafter(middle, 0.0f)), bits) << bits;
    EXPECT_EQ(to_bits(std::nextafter(middle, kInfinity)), bits + 1) << bits;
    EXPECT_EQ(to_bits(-middle), even | 0x8000u) << bits;
  }
}

TEST(F16, ValuesBetweenNeighbours_RoundToNearestEven) {
  expect_nearest_even(f32_from_f16, f16_from_f32, 0x7BFF);
}

TEST(Bf16, NormalValuesBetweenNeighbours_RoundToNearestEven) {
  const auto from_normal = [](uint16_t bits) {
    return f32_from_bf16(static_cast<uint16_t>(bits + 0x80));
  };
  const auto to_normal = [](float value) {
    const uint16_t bits = bf16_from_f32(value);
    return static_cast<uint32_t>(bits & 0x8000u) | ((bits & 0x7FFFu) - 0x80u);
  };
  expect_nearest_even(from_normal, to_normal, 0x7F7F - 0x80);
}

TEST(F16, TooLargeValues_BecomeInfinity) {
  EXPECT_EQ(f32_from_f16(f16_from_f32(65519.0f)), 65504.0f);
  EXPECT_EQ(f32_from_f16(f16_from_f32(65520.0f)), kInfinity);
  EXPECT_EQ(f32_from_f16(f16_from_f32(-1e30f)), -kInfinity);
}

TEST(Bf16, NanWithLowBitsOnly_StaysNan) {
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(float_of(0x7F800001u)))));
  EXPECT_TRUE(std::isnan(f32_from_f16(f16_from_f32(float_of(0x7F800001u)))));
}

}  // namespace
}  // namespace regard::core
