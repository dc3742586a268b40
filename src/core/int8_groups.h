// The arithmetic of SageAttention's quantisation, for rows of f32: groups of rows that share a
// scale, int8 values, the mean that K loses, and the formats of P and V. The reference and the
// kernels call the same functions, so that int8 values agree bit for bit: no product is followed by
// a sum that a compiler could fuse, and every sum has one order.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "regard/problem.h"

namespace regard::core {

// Rows of one scale block and, with per_thread, groups inside it (see ScaleGroups).
constexpr int64_t query_block(ScaleGroups groups) {
  return groups == ScaleGroups::per_block ? 128 : 32;
}
inline constexpr int64_t kKeyBlock = 64;
// An int8 backward: P and dS have one scale for so many queries by kKeyBlock keys, dO one for so
// many queries.
inline constexpr int64_t kInt8TileQueries = 128;
inline constexpr int64_t kQueryGroupsPerThreadBlock = 8;
inline constexpr int64_t kKeyGroupsPerThreadBlock = 4;

// Group of a row, both counted from the sequence's first.
constexpr int64_t query_group(ScaleGroups groups, int64_t query) {
  const int64_t block = query / query_block(groups);
  return groups == ScaleGroups::per_thread ? block * kQueryGroupsPerThreadBlock + query % 8 : block;
}
constexpr int64_t key_group(ScaleGroups groups, int64_t key) {
  const int64_t block = key / kKeyBlock;
  return groups == ScaleGroups::per_thread ? block * kKeyGroupsPerThreadBlock + key % 8 / 2 : block;
}

// Groups of `rows` rows; with per_thread some of the last block may hold no row.
constexpr int64_t num_query_groups(ScaleGroups groups, int64_t rows) {
  const int64_t blocks = (rows + query_block(groups) - 1) / query_block(groups);
  return groups == ScaleGroups::per_thread ? blocks * kQueryGroupsPerThreadBlock : blocks;
}
constexpr int64_t num_key_groups(ScaleGroups groups, int64_t rows) {
  const int64_t blocks = (rows + kKeyBlock - 1) / kKeyBlock;
  return groups == ScaleGroups::per_thread ? blocks * kKeyGroupsPerThreadBlock : blocks;
}

// Largest |x| of a row and what came before, as bits: ordered like the magnitudes, with NaN above
// infinity, so that a NaN reaches its group's scale whatever the order.
inline uint32_t max_magnitude_bits(const float* row, int64_t dim, uint32_t so_far) {
  for (int64_t i = 0; i < dim; ++i) {
    const uint32_t bits = bits_of(row[i]) & 0x7FFFFFFFu;
    so_far = so_far > bits ? so_far : bits;
  }
  return so_far;
}

// `largest` / `steps`, rounded up to 16 significant bits, so that a scale times a value of up to 8
// bits is exact in f32; at least 2^-110, so that a group of zeros stays finite.
constexpr float scale_of_group(uint32_t largest_magnitude_bits, float steps) {
  const float quotient = float_of(largest_magnitude_bits) / steps;
  if (quotient < 0x1p-110f) {
    return 0x1p-110f;
  }
  return float_of((bits_of(quotient) + 0xFFu) & 0xFFFFFF00u);
}
inline constexpr float kInt8Steps = 127.0f;

// x / scale rounded to nearest even: adding 1.5 * 2^23 leaves the integer in the low mantissa bits.
// |x / scale| <= 127 by the choice of the scale; NaN gives some value in range, and its scale is
// NaN or infinite.
inline constexpr float kInt8Magic = 12582912.0f;
constexpr int8_t int8_of(float x, float scale) {
  const float quotient = x / scale;
  const auto value = static_cast<int32_t>(bits_of(quotient + kInt8Magic) - bits_of(kInt8Magic));
  return static_cast<int8_t>(value < -127 ? -127 : value > 127 ? 127 : value);
}

// mean[d] = mean of rows [0, num_rows) of `dim` floats: sums of 64 rows, then the sum of those, all
// ascending. load(row) returns a pointer to row `row`, valid until the next call; `block_sum` holds
// `dim` floats. No rows give zeros.
template <class LoadRow>
void mean_of_rows(int64_t num_rows, int64_t dim, const LoadRow& load, float* block_sum,
                  float* mean) {
  for (int64_t i = 0; i < dim; ++i) {
    mean[i] = 0.0f;
  }
  for (int64_t begin = 0; begin < num_rows; begin += kKeyBlock) {
    const int64_t end = begin + kKeyBlock < num_rows ? begin + kKeyBlock : num_rows;
    for (int64_t i = 0; i < dim; ++i) {
      block_sum[i] = 0.0f;
    }
    for (int64_t row = begin; row < end; ++row) {
      const float* values = load(row);
      for (int64_t i = 0; i < dim; ++i) {
        block_sum[i] += values[i];
      }
    }
    for (int64_t i = 0; i < dim; ++i) {
      mean[i] += block_sum[i];
    }
  }
  for (int64_t i = 0; i < dim && num_rows > 0; ++i) {
    mean[i] /= static_cast<float>(num_rows);
  }
}

// Scales of rows [0, num_rows): scales[group_of(row)], `num_groups` of them. load as above.
template <class LoadRow, class GroupOf>
void scales_of_rows(int64_t num_rows, int64_t dim, int64_t num_groups, const LoadRow& load,
                    const GroupOf& group_of, float* scales) {
  for (int64_t group = 0; group < num_groups; ++group) {
    scales[group] = 0.0f;
  }
  for (int64_t row = 0; row < num_rows; ++row) {
    float& largest = scales[group_of(row)];
    largest = float_of(max_magnitude_bits(load(row), dim, bits_of(largest)));
  }
  for (int64_t group = 0; group < num_groups; ++group) {
    scales[group] = scale_of_group(bits_of(scales[group]), kInt8Steps);
  }
}

inline void int8_of_row(const float* row, int64_t dim, float scale, int8_t* to) {
  for (int64_t i = 0; i < dim; ++i) {
    to[i] = int8_of(row[i], scale);
  }
}

// x in a floating-point format of `mantissa` bits: rounded to nearest even, subnormals kept, what
// is above `largest` becomes `largest`, NaN stays NaN.
struct ShortFloat {
  int mantissa;
  float smallest_normal, largest;

  constexpr float rounded(float x) const {
    const uint32_t magnitude = bits_of(x) & 0x7FFFFFFFu;
    const int dropped = 23 - mantissa;
    const uint32_t half_below = (uint32_t{1} << (dropped - 1)) - 1;
    const uint32_t normal = (magnitude + half_below + ((magnitude >> dropped) & 1u)) >> dropped;
    // Beside smallest_normal * 2^dropped, f32 has the spacing of the format's subnormals.
    const float anchor = smallest_normal * static_cast<float>(uint32_t{1} << dropped);
    const uint32_t subnormal = bits_of((float_of(magnitude) + anchor) - anchor);
    uint32_t bits = magnitude < bits_of(smallest_normal) ? subnormal : normal << dropped;
    bits = magnitude > bits_of(largest) ? bits_of(largest) : bits;
    bits = magnitude > 0x7F800000u ? magnitude : bits;
    return float_of(bits | (bits_of(x) & 0x80000000u));
  }
};

// Saturating, because a bf16 V may hold more than 65504.
inline constexpr ShortFloat kShortF16{10, 0x1p-14f, 65504.0f};
inline constexpr ShortFloat kShortE4m3{3, 0x1p-6f, kLargestE4m3};

// V as P V sees it. For f8_e4m3, `scale` is scale_of_group(largest |V| of the channel over the
// sequence's keys, 448).
constexpr float rounded_value(ValueFormat format, float value, float scale) {
  switch (format) {
    case ValueFormat::f16:
      return kShortF16.rounded(value);
    case ValueFormat::f8_e4m3:
      return kShortE4m3.rounded(value / scale) * scale;
    default:
      return value;
  }
}

// A weight in [0, 1], relative to its row's largest, as P V sees it: in f8_e4m3 as P * 448.
constexpr float rounded_weight(ValueFormat format, float weight) {
  switch (format) {
    case ValueFormat::f16:
      return kShortF16.rounded(weight);
    case ValueFormat::f8_e4m3:
      return kShortE4m3.rounded(weight * kLargestE4m3) * (1.0f / kLargestE4m3);
    default:
      return weight;
  }
}

}  // namespace regard::core
