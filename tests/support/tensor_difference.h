// How far results may lie from each other, in the words of every judge.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "regard/problem.h"

namespace regard::testing {

// Largest |a - b|; equal infinities differ by 0, a NaN on either side is kept.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = a[i] == b[i] ? 0.0 : std::abs(double{a[i]} - double{b[i]});
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

// Largest finite |value|.
inline double largest_magnitude(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::isfinite(value) ? std::abs(double{value}) : 0.0);
  }
  return largest;
}

// Half the distance of neighbours at 1: the largest relative error of one rounding.
inline double half_ulp(DType dtype) {
  return dtype == DType::f32 ? 0x1p-24 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
}

}  // namespace regard::testing
