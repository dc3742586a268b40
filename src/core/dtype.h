// Conversions between f32 and the two 16-bit formats, one element at a time: round to nearest even,
// overflow to infinity, NaN stays NaN, subnormals kept. The vector versions of a back end must give
// the same bits.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

constexpr int64_t bytes_of(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

constexpr const char* name_of(DType dtype) {
  return dtype == DType::f32 ? "f32" : dtype == DType::f16 ? "f16" : "bf16";
}

constexpr uint32_t bits_of(float value) { return __builtin_bit_cast(uint32_t, value); }
constexpr float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// bf16 is the upper half of an f32.
constexpr float f32_from_bf16(uint16_t bits) { return float_of(uint32_t{bits} << 16); }

constexpr uint16_t bf16_from_f32(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
    return static_cast<uint16_t>((bits >> 16) | 0x0040u);  // quiet, so that it cannot become inf
  }
  const uint32_t round_to_even = 0x7FFFu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>((bits + round_to_even) >> 16);
}

// f16: 1 sign, 5 exponent (bias 15), 10 mantissa bits.
constexpr float f32_from_f16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0x1F) {
    return float_of(sign | 0x7F800000u | (mantissa << 13));
  }
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return float_of(sign | bits_of(magnitude));
  }
  return float_of(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

constexpr uint16_t f16_from_f32(float value) {
  const uint32_t bits = bits_of(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) {
    return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  }
  if (magnitude >= 0x477FF000u) {  // 65520, half-way to the first value that does not exist
    return static_cast<uint16_t>(sign | 0x7C00u);
  }
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 makes the adder round at 2^-24
    const float rounded = float_of(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (bits_of(rounded) - 0x3F000000u));
  }
  const uint32_t round_to_even = 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + round_to_even) >> 13));
}

// Element `index` of a buffer of `dtype`.
inline float load(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::f16:
      return f32_from_f16(static_cast<const uint16_t*>(data)[index]);
    case DType::bf16:
      return f32_from_bf16(static_cast<const uint16_t*>(data)[index]);
    default:
      return static_cast<const float*>(data)[index];
  }
}

inline void store(void* data, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::f16:
      static_cast<uint16_t*>(data)[index] = f16_from_f32(value);
      return;
    case DType::bf16:
      static_cast<uint16_t*>(data)[index] = bf16_from_f32(value);
      return;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

// Offset of element (batch, seq, head, 0) of a view, in elements.
constexpr int64_t row_offset(const View& view, int64_t batch, int64_t seq, int64_t head) {
  return batch * view.stride_batch + seq * view.stride_seq + head * view.stride_head;
}

}  // namespace regard::core
