// The arithmetic of core/int8_groups.h for the kernels: the same bits (which the tests compare).
#pragma once

#include "platform.cuh"

namespace regard::gpu {

REGARD_DEVICE unsigned word_of(float x) { return __builtin_bit_cast(unsigned, x); }
REGARD_DEVICE float float_of_word(unsigned word) { return __builtin_bit_cast(float, word); }

// Magnitude as a word: ordered like the magnitudes, NaN above infinity.
REGARD_DEVICE unsigned magnitude_word(float x) { return word_of(x) & 0x7FFFFFFFu; }
REGARD_DEVICE unsigned larger(unsigned a, unsigned b) { return a > b ? a : b; }

// core::scale_of_group.
REGARD_DEVICE float scale_of_group(unsigned largest_magnitude, float steps) {
  const float quotient = float_of_word(largest_magnitude) / steps;
  if (quotient < 0x1p-110f) {
    return 0x1p-110f;
  }
  return float_of_word((word_of(quotient) + 0xFFu) & 0xFFFFFF00u);
}

// core::int8_of, as the low byte.
inline constexpr float kInt8Magic = 12582912.0f;  // 1.5 * 2^23
REGARD_DEVICE unsigned int8_byte(float x, float scale) {
  const float quotient = x / scale;
  const int value = static_cast<int>(word_of(quotient + kInt8Magic) - word_of(kInt8Magic));
  return static_cast<unsigned>(value < -127 ? -127 : value > 127 ? 127 : value) & 0xFFu;
}

// Before a conversion to f16, as core::kShortF16 has it: what is above 65504 becomes it.
REGARD_DEVICE float saturated_f16(float x) {
  constexpr float kLargest = 65504.0f;
  return x > kLargest ? kLargest : x < -kLargest ? -kLargest : x;
}

// core::kShortE4m3.rounded: 3 bits of mantissa, spacing 2^-9 below 2^-6, at most 448.
inline constexpr float kE4m3Steps = 448.0f;
REGARD_DEVICE float rounded_e4m3(float x) {
  const unsigned magnitude = magnitude_word(x);
  const unsigned normal = (magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u)) & 0xFFF00000u;
  constexpr float kAnchor = 0x1p-6f * 0x1p20f;  // f32 beside it has the spacing 2^-9
  const float subnormal = (float_of_word(magnitude) + kAnchor) - kAnchor;
  unsigned word = magnitude < word_of(0x1p-6f) ? word_of(subnormal) : normal;
  word = word > word_of(kE4m3Steps) ? word_of(kE4m3Steps) : word;
  word = magnitude > 0x7F800000u ? magnitude : word;
  return float_of_word(word | (word_of(x) & 0x80000000u));
}

}  // namespace regard::gpu
