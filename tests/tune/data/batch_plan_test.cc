#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "tests/tune/data/temporary_folder.h"
#include "tune/data/dataset.h"
#include "tune/data/shuffle.h"
#include "tune/error.h"

namespace tune {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

// Sample i has ids 100 i, 100 i + 1, ...; the first half is not trained.
Sample make_sample(int32_t number, int64_t length) {
  Sample sample;
  for (int64_t i = 0; i < length; ++i) {
    const auto id = static_cast<int32_t>(number * 100 + i);
    sample.input_ids.push_back(id);
    sample.labels.push_back(i < length / 2 ? kIgnoreLabel : id);
  }
  return sample;
}

std::vector<Sample> make_samples(const std::vector<int64_t>& lengths) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < lengths.size(); ++i) {
    samples.push_back(make_sample(static_cast<int32_t>(i), lengths[i]));
  }
  return samples;
}

std::vector<Sample> random_samples(size_t count, uint64_t longest, uint64_t seed) {
  SplitMix64 generator(seed);
  std::vector<int64_t> lengths(count);
  for (int64_t& length : lengths) length = 2 + static_cast<int64_t>(generator.below(longest - 1));
  return make_samples(lengths);
}

Config small_config() {
  Config config;
  config.sequence_len = 32;
  config.micro_batch_size = 3;
  return config;
}

// The samples' numbers in the order the epoch shows them.
std::vector<int32_t> shown(const BatchPlan& plan) {
  std::vector<int32_t> numbers;
  for (int64_t i = 0; i < plan.num_batches(); ++i) {
    const Batch batch = plan.batch(i);
    for (size_t d = 0; d + 1 < batch.document_offsets.size(); ++d) {
      const int32_t id = batch.input_ids[static_cast<size_t>(batch.document_offsets[d])];
      if (id >= 0) numbers.push_back(id / 100);
    }
  }
  return numbers;
}

// Everything a batch promises, whatever is in it. Padding is -1 in these tests.
void expect_consistent(const Batch& batch) {
  const int64_t cells = batch.num_rows * batch.row_length;
  ASSERT_EQ(static_cast<int64_t>(batch.input_ids.size()), cells);
  ASSERT_EQ(static_cast<int64_t>(batch.labels.size()), cells);
  ASSERT_EQ(static_cast<int64_t>(batch.position_ids.size()), cells);
  ASSERT_EQ(batch.document_offsets.front(), 0);
  ASSERT_EQ(batch.document_offsets.back(), cells);
  std::vector<bool> is_start(static_cast<size_t>(cells) + 1, false);
  for (size_t i = 0; i < batch.document_offsets.size(); ++i) {
    if (i > 0) {
      ASSERT_LT(batch.document_offsets[i - 1], batch.document_offsets[i]);
    }
    is_start[static_cast<size_t>(batch.document_offsets[i])] = true;
  }
  int64_t num_tokens = 0, num_trainable = 0;
  for (size_t i = 0; i < static_cast<size_t>(cells); ++i) {
    if (static_cast<int64_t>(i) % batch.row_length == 0) {
      EXPECT_TRUE(is_start[i]);
    }
    EXPECT_EQ(batch.position_ids[i] == 0, static_cast<bool>(is_start[i]));
    if (!is_start[i]) {
      EXPECT_EQ(batch.position_ids[i], batch.position_ids[i - 1] + 1);
      EXPECT_EQ(batch.input_ids[i] == -1, batch.input_ids[i - 1] == -1);
    } else {
      EXPECT_EQ(batch.labels[i], kIgnoreLabel);
    }
    num_tokens += batch.input_ids[i] != -1;
    num_trainable += batch.labels[i] != kIgnoreLabel;
    if (batch.input_ids[i] == -1) {
      EXPECT_EQ(batch.labels[i], kIgnoreLabel);
    }
  }
  EXPECT_EQ(batch.num_tokens, num_tokens);
  EXPECT_EQ(batch.num_trainable, num_trainable);
}

}  // namespace

// Axolotl's vector: positions 0123 012 01234 01 and padding 00.
TEST(BatchLayout, FourDocumentsAndPadding_GiveTheKnownOffsets) {
  const std::vector<Sample> samples = make_samples({4, 3, 5, 2});
  const Batch batch = lay_out_rows(samples, {{0, 1, 2, 3}}, 16, -1);
  EXPECT_THAT(batch.document_offsets, ElementsAre(0, 4, 7, 12, 14, 16));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 0, 1));
  EXPECT_EQ(batch.num_tokens, 14);
  expect_consistent(batch);
}

TEST(BatchLayout, TwoRows_ForceABoundaryAtEachRowStart) {
  const std::vector<Sample> samples = make_samples({5, 3, 7, 1});
  const Batch batch = lay_out_rows(samples, {{0, 1}, {2, 3}}, 8, -1);
  EXPECT_THAT(batch.document_offsets, ElementsAre(0, 5, 8, 15, 16));
  expect_consistent(batch);
}

TEST(BatchLayout, FirstTokenOfADocument_IsNeverALabel) {
  Sample all;
  all.input_ids = {7, 8, 9};
  all.labels = all.input_ids;
  const Batch batch = lay_out_rows({all, all}, {{0, 1}}, 8, 0);
  EXPECT_THAT(batch.labels, ElementsAre(-100, 8, 9, -100, 8, 9, -100, -100));
  EXPECT_THAT(batch.input_ids, ElementsAre(7, 8, 9, 7, 8, 9, 0, 0));
  EXPECT_EQ(batch.num_trainable, 4);
}

TEST(BatchLayout, RowThatDoesNotFit_IsAnError) {
  const std::vector<Sample> samples = make_samples({5, 4});
  EXPECT_THROW(lay_out_rows(samples, {{0, 1}}, 8, -1), Error);
}

TEST(BatchPlan, Packed_RowsAreFullLengthAndEverySampleAppearsOnce) {
  const std::vector<Sample> samples = random_samples(101, 32, 1);
  Config config = small_config();
  config.sample_packing = true;
  BatchPlan plan(samples, config, /*is_training=*/true, -1);
  int64_t num_tokens = 0, num_rows = 0;
  for (int64_t i = 0; i < plan.num_batches(); ++i) {
    const Batch batch = plan.batch(i);
    EXPECT_EQ(batch.row_length, 32);
    EXPECT_EQ(batch.num_rows == 3, i + 1 < plan.num_batches() || batch.num_rows == 3);
    expect_consistent(batch);
    num_tokens += batch.num_tokens;
    num_rows += batch.num_rows;
  }
  std::vector<int32_t> numbers = shown(plan);
  std::sort(numbers.begin(), numbers.end());
  std::vector<int32_t> expected(101);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(numbers, expected);
  EXPECT_DOUBLE_EQ(plan.packing_efficiency(),
                   static_cast<double>(num_tokens) / (32.0 * static_cast<double>(num_rows)));
  EXPECT_GT(plan.packing_efficiency(), 0.9);
}

TEST(BatchPlan, PackedInGroups_MixesNoTwoGroups) {
  const std::vector<Sample> samples = make_samples(std::vector<int64_t>(20, 4));
  Config config = small_config();
  config.sample_packing = true;
  config.micro_batch_size = 1;
  config.sample_packing_group_size = 5;
  config.shuffle_before_training = false;
  const BatchPlan plan(samples, config, /*is_training=*/true, -1);
  // 8 samples of 4 tokens fit a row, but a group has only 5.
  ASSERT_EQ(plan.num_batches(), 4);
  EXPECT_EQ(plan.batch(0).num_tokens, 20);
  EXPECT_DOUBLE_EQ(plan.packing_efficiency(), 20.0 / 32.0);
  config.sample_packing_bin_size = 2;
  EXPECT_EQ(BatchPlan(samples, config, true, -1).num_batches(), 12);
}

TEST(BatchPlan, Unpacked_PadsToTheLongestRoundedUpToEight) {
  const std::vector<Sample> samples = make_samples({3, 9, 2, 31});
  Config config = small_config();
  config.shuffle_before_training = false;
  const BatchPlan plan(samples, config, /*is_training=*/true, -1);
  ASSERT_EQ(plan.num_batches(), 2);
  EXPECT_EQ(plan.batch(0).row_length, 16);
  EXPECT_THAT(plan.batch(0).document_offsets, ElementsAre(0, 3, 16, 25, 32, 34, 48));
  EXPECT_EQ(plan.batch(1).num_rows, 1);
  EXPECT_EQ(plan.batch(1).row_length, 32);
  EXPECT_DOUBLE_EQ(plan.packing_efficiency(), 1.0);
  config.pad_to_sequence_len = true;
  EXPECT_EQ(BatchPlan(samples, config, true, -1).batch(0).row_length, 32);
  config.pad_to_sequence_len = false;
  config.sequence_len = 12;  // rounding up never goes beyond sequence_len
  EXPECT_EQ(BatchPlan(samples, config, true, -1).batch(0).row_length, 12);
}

TEST(BatchPlan, SameSeedAndEpoch_GiveTheSameOrder) {
  const std::vector<Sample> samples = random_samples(64, 32, 2);
  for (bool is_packed : {false, true}) {
    Config config = small_config();
    config.sample_packing = is_packed;
    BatchPlan plan(samples, config, true, -1);
    const std::vector<int32_t> first = shown(plan);
    plan.start_epoch(1);
    const std::vector<int32_t> second = shown(plan);
    EXPECT_NE(first, second);
    plan.start_epoch(0);
    EXPECT_EQ(shown(plan), first);
    EXPECT_EQ(shown(BatchPlan(samples, config, true, -1)), first);
    config.seed = 43;
    EXPECT_NE(shown(BatchPlan(samples, config, true, -1)), first);
    EXPECT_THAT(second, testing::UnorderedElementsAreArray(first));
  }
}

// The order is part of what a resumed run relies on: it must not change with a compiler or library.
TEST(BatchPlan, Order_IsFixedForAllTime) {
  const std::vector<Sample> samples = make_samples(std::vector<int64_t>(10, 2));
  Config config = small_config();
  EXPECT_THAT(shown(BatchPlan(samples, config, true, -1)),
              ElementsAreArray({2, 1, 8, 9, 0, 7, 4, 6, 3, 5}));
}

TEST(BatchPlan, Evaluation_KeepsTheOrderAndTheLastBatch) {
  const std::vector<Sample> samples = make_samples({5, 4, 3, 2, 6, 7, 8});
  Config config = small_config();
  config.sample_packing = true;  // of training; evaluation has its own key
  const BatchPlan plan(samples, config, /*is_training=*/false, -1);
  EXPECT_THAT(shown(plan), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(plan.num_batches(), 3);
  EXPECT_EQ(plan.batch(2).num_rows, 1);
  config.eval_sample_packing = true;
  EXPECT_EQ(BatchPlan(samples, config, false, -1).num_batches(), 1);
}

TEST(BatchPlan, ShuffleSwitchedOff_KeepsTheOrderOfTheFiles) {
  const std::vector<Sample> samples = make_samples({5, 4, 3, 2});
  Config config = small_config();
  config.shuffle_before_training = false;
  BatchPlan plan(samples, config, true, -1);
  plan.start_epoch(3);
  EXPECT_THAT(shown(plan), ElementsAre(0, 1, 2, 3));
}

TEST(BatchPlan, GroupByLength_PadsLessAndLosesNothing) {
  const std::vector<Sample> samples = random_samples(300, 32, 3);
  const auto num_cells = [&samples](bool is_grouped) {
    Config config = small_config();
    config.group_by_length = is_grouped;
    const BatchPlan plan(samples, config, true, -1);
    std::vector<int32_t> numbers = shown(plan);
    std::sort(numbers.begin(), numbers.end());
    EXPECT_EQ(std::unique(numbers.begin(), numbers.end()) - numbers.begin(), 300);
    int64_t cells = 0;
    for (int64_t i = 0; i < plan.num_batches(); ++i) {
      const Batch batch = plan.batch(i);
      cells += batch.num_rows * batch.row_length;
    }
    return cells;
  };
  EXPECT_LT(num_cells(true), num_cells(false) * 85 / 100);
}

TEST(BatchPlan, NoSamples_GiveNoBatches) {
  const std::vector<Sample> none;
  Config config = small_config();
  for (bool is_packed : {false, true}) {
    config.sample_packing = is_packed;
    const BatchPlan plan(none, config, true, -1);
    EXPECT_EQ(plan.num_batches(), 0);
    EXPECT_DOUBLE_EQ(plan.packing_efficiency(), 1.0);
    EXPECT_THROW(plan.batch(0), Error);
  }
}

TEST(Shuffle, Positions_AreEquallyLikely) {
  std::vector<int> times(4 * 4, 0);
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    SplitMix64 generator = make_generator(seed, 0, 1);
    std::vector<int> items = {0, 1, 2, 3};
    shuffle(items, generator);
    for (size_t i = 0; i < 4; ++i) ++times[i * 4 + static_cast<size_t>(items[i])];
  }
  // 1000 expected, standard deviation 27.
  for (int count : times) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace tune
