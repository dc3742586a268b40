// Conversions between f32 and the 16-bit and 8-bit formats, one element at a time: round to nearest
// even, overflow to infinity, NaN stays NaN, subnormals kept. The vector versions of a back end
// must give the same bits.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

constexpr int64_t bytes_of(DType dtype) {
  return dtype == DType::f32 ? 4 : dtype == DType::f8_e4m3 ? 1 : 2;
}

constexpr const char* name_of(DType dtype) {
  return dtype == DType::f32    ? "f32"
         : dtype == DType::f16  ? "f16"
         : dtype == DType::bf16 ? "bf16"
                                : "f8_e4m3";
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

// e4m3: 1 sign, 4 exponent (bias 7), 3 mantissa bits; 0x7F and 0xFF are NaN, there is no infinity
// (Micikevicius et al. 2022, arXiv 2209.05433).
inline constexpr float kLargestE4m3 = 448.0f;

constexpr float f32_from_e4m3(uint8_t bits) {
  const uint32_t sign = uint32_t{bits & 0x80u} << 24;
  const uint32_t exponent = (bits >> 3) & 0xFu;
  const uint32_t mantissa = bits & 0x7u;
  if (exponent == 0xF && mantissa == 0x7) {
    return float_of(sign | 0x7FC00000u);
  }
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-9
    return float_of(sign | bits_of(static_cast<float>(mantissa) * 0x1p-9f));
  }
  return float_of(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

// Rounds to nearest even; what is larger than 448 becomes 448 (saturating conversion), NaN stays.
constexpr uint8_t e4m3_from_f32(float value) {
  const uint32_t bits = bits_of(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) {
    return static_cast<uint8_t>(sign | 0x7Fu);
  }
  if (magnitude >= bits_of(kLargestE4m3)) {
    return static_cast<uint8_t>(sign | 0x7Eu);
  }
  if (magnitude < 0x3C800000u) {  // below 2^-6: adding 2^14 makes the adder round at 2^-9
    const float rounded = float_of(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (bits_of(rounded) - bits_of(0x1p14f)));
  }
  const uint32_t round_to_even = 0x7FFFFu + ((magnitude >> 20) & 1u);
  return static_cast<uint8_t>(sign | ((magnitude - 0x3C000000u + round_to_even) >> 20));
}

// Element `index` of a buffer of `dtype`.
inline float load(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::f16:
      return f32_from_f16(static_cast<const uint16_t*>(data)[index]);
    case DType::bf16:
      return f32_from_bf16(static_cast<const uint16_t*>(data)[index]);
    case DType::f8_e4m3:
      return f32_from_e4m3(static_cast<const uint8_t*>(data)[index]);
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
    case DType::f8_e4m3:
      static_cast<uint8_t*>(data)[index] = e4m3_from_f32(value);
      return;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

// Offset of element (batch, seq, head, 0) of a view, in elements.
constexpr int64_t row_offset(const View& view, int64_t batch, int64_t seq, int64_t head) {
  return batch * view.stride_batch + seq * view.stride_seq + head * view.stride_head;
}

// A view of `dtype` over contiguous memory, [B, S, H, dim], with the batch, sequence and heads of
// `like`.
constexpr View contiguous_view(const View& like, DType dtype, int64_t dim, void* memory) {
  return {.data = memory,
          .dtype = dtype,
          .batch = like.batch,
          .seq = like.seq,
          .heads = like.heads,
          .dim = dim,
          .stride_batch = like.seq * like.heads * dim,
          .stride_seq = like.heads * dim,
          .stride_head = dim};
}

// Row (batch, seq, head) of an f32 view.
inline float* f32_row(const View& view, int64_t batch, int64_t seq, int64_t head) {
  return static_cast<float*>(view.data) + row_offset(view, batch, seq, head);
}

}  // namespace regard::core
