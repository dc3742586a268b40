// Lengths, a bias and what the tests of regard/xformers.h ask of masks.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "regard/error.h"
#include "regard/xformers.h"

namespace regard::xformers {

using Ints = std::vector<int32_t>;

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// Batch and head broadcast; values of the f32 bias [40, 40], some of them -inf.
inline BiasTensor shared_bias() {
  static const std::vector<float> kValues = [] {
    std::vector<float> values;
    for (int i = 0; i < 40 * 40; ++i) {
      values.push_back(i % 7 == 3 ? kMasked : 0.25f * static_cast<float>(i % 11) - 1.0f);
    }
    return values;
  }();
  return {kValues.data(), DType::f32, 0, 0, 40, 1};
}

// Blocks of 0, 1, 13, 20 and 6 queries: 40.
inline const Ints kQueries = {0, 1, 13, 20, 6};
// With 7, 4, 13, 29 and 9 keys: 62.
inline const Ints kKeys = {7, 4, 13, 29, 9};
inline const Ints kFewKeys = {3, 0, 5, 1, 16};  // of caches of 16, 80 in all
inline const Ints kStarts = {50, 3, 30, 9, 14, 60};

// Eight pages of 8 rows; three blocks of up to three pages.
inline const Ints kTable = {5, 0, 2, 7, -1, -1, 3, 1, 6};
inline const Ints kPagedQueries = {4, 1, 9}, kPagedKeys = {18, 5, 24};
inline const Ints kPagedStarts = {3, 2, 7}, kGappyKeys = {18, 6, 15};

// 1 where a pair is seen.
inline std::vector<float> dense_of(const AttentionBias& mask, int64_t sq, int64_t sk) {
  Problem shape;
  shape.q = {.batch = 1, .seq = sq, .heads = 1, .dim = 1};
  shape.k = {.batch = 1, .seq = sk, .heads = 1, .dim = 1};
  std::vector<float> seen;
  for (const float value : materialise(mask, shape)) {
    seen.push_back(value == 0.0f ? 1.0f : 0.0f);
  }
  return seen;
}

// The message of the Error(invalid_argument) that `call` throws; "" where it throws none.
inline std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

}  // namespace regard::xformers
