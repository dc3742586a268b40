#include "core/mask.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/sequences.h"

namespace regard::core {
namespace {

KeyInterval keys_of(Causal causal, Window window, int64_t q_len, int64_t k_len, int64_t query) {
  return key_interval(causal, window, q_len, k_len, query);
}

void expect_keys(const KeyInterval& keys, int64_t lo, int64_t hi) {
  EXPECT_EQ(keys.lo, lo);
  EXPECT_EQ(keys.hi, hi);
}

// The two examples of FlashAttention's documentation (since 2.1).
TEST(KeyInterval, LowerRightWithMoreKeys_AlignsTheLastCorner) {
  expect_keys(keys_of(Causal::lower_right, {}, 2, 5, 0), 0, 4);
  expect_keys(keys_of(Causal::lower_right, {}, 2, 5, 1), 0, 5);
}

TEST(KeyInterval, LowerRightWithMoreQueries_LeavesFirstRowsEmpty) {
  for (const int64_t query : {0, 1, 2}) {
    EXPECT_TRUE(keys_of(Causal::lower_right, {}, 5, 2, query).is_empty()) << query;
  }
  expect_keys(keys_of(Causal::lower_right, {}, 5, 2, 3), 0, 1);
  expect_keys(keys_of(Causal::lower_right, {}, 5, 2, 4), 0, 2);
}

TEST(KeyInterval, UpperLeft_LetsQueryISeeKeysUpToI) {
  expect_keys(keys_of(Causal::upper_left, {}, 2, 5, 0), 0, 1);
  expect_keys(keys_of(Causal::upper_left, {}, 5, 2, 4), 0, 2);
}

TEST(KeyInterval, WindowWithoutCausal_IsAlignedLowerRight) {
  expect_keys(keys_of(Causal::none, {.left = 1, .right = 0}, 2, 5, 0), 2, 4);
  expect_keys(keys_of(Causal::none, {.left = 1, .right = 1}, 2, 5, 1), 3, 5);
}

TEST(KeyInterval, WindowWithUpperLeft_CountsFromTheDiagonal) {
  expect_keys(keys_of(Causal::upper_left, {.left = 2, .right = -1}, 8, 8, 5), 3, 6);
  expect_keys(keys_of(Causal::upper_left, {.left = 0, .right = 0}, 8, 8, 5), 5, 6);
}

TEST(KeyInterval, WindowPastTheKeys_IsEmpty) {
  expect_keys(keys_of(Causal::upper_left, {.left = 1, .right = 1}, 9, 3, 8), 0, 0);
}

TEST(KeyInterval, LargestWindow_DoesNotOverflow) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  expect_keys(keys_of(Causal::none, {.left = kLargest, .right = kLargest}, 7, 2, 0), 0, 2);
}

// Against the definition, spelled out key by key.
TEST(KeyInterval, SmallShapes_AgreeWithTheDefinition) {
  for (const Causal causal : {Causal::none, Causal::upper_left, Causal::lower_right}) {
    for (int64_t q_len = 0; q_len < 6; ++q_len) {
      for (int64_t k_len = 0; k_len < 6; ++k_len) {
        for (int64_t left = -1; left < 4; ++left) {
          for (int64_t right = -1; right < 4; ++right) {
            for (int64_t query = 0; query < q_len; ++query) {
              const int64_t position = causal == Causal::upper_left ? query : query + k_len - q_len;
              const KeyInterval keys = keys_of(causal, {left, right}, q_len, k_len, query);
              for (int64_t key = 0; key < k_len; ++key) {
                const bool is_seen = (causal == Causal::none || key <= position) &&
                                     (left < 0 || key >= position - left) &&
                                     (right < 0 || key <= position + right);
                ASSERT_EQ(keys.contains(key), is_seen);
              }
            }
          }
        }
      }
    }
  }
}

TEST(SequenceAt, Documents_OwnTheirQueriesAndKeys) {
  const int32_t q_offsets[] = {0, 2, 2, 5}, k_offsets[] = {0, 1, 4, 4};
  Problem problem;
  problem.q.batch = 1;
  problem.documents = {.q_offsets = q_offsets, .k_offsets = k_offsets, .count = 3};
  ASSERT_EQ(num_sequences(problem), 3);
  const Sequence second = sequence_at(problem, 1), third = sequence_at(problem, 2);
  EXPECT_EQ(second.q_len, 0);
  EXPECT_EQ(second.k_begin, 1);
  EXPECT_EQ(second.k_len, 3);
  EXPECT_EQ(third.index, 2);
  EXPECT_EQ(third.batch, 0);
  EXPECT_EQ(third.q_begin, 2);
  EXPECT_EQ(third.q_len, 3);
  EXPECT_EQ(third.k_len, 0);
}

TEST(AlibiDistance, MoreKeysThanQueries_IsAlignedLowerRight) {
  const Sequence sequence{.q_len = 2, .k_len = 5};
  EXPECT_EQ(alibi_distance(sequence, 0, 3), 0);
  EXPECT_EQ(alibi_distance(sequence, 0, 4), 1);
  EXPECT_EQ(alibi_distance(sequence, 1, 0), 4);
}

}  // namespace
}  // namespace regard::core
