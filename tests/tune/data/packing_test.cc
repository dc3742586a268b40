#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/tune/data/temporary_folder.h"
#include "tune/data/dataset.h"
#include "tune/data/shuffle.h"
#include "tune/error.h"

namespace tune {
namespace {

std::vector<int64_t> random_lengths(size_t count, int64_t longest, uint64_t seed) {
  SplitMix64 generator(seed);
  std::vector<int64_t> lengths(count);
  for (int64_t& length : lengths) {
    length = 1 + static_cast<int64_t>(generator.below(static_cast<uint64_t>(longest)));
  }
  return lengths;
}

// The algorithm as the textbook says it: every bin is looked at, in order.
std::vector<std::vector<int32_t>> pack_plainly(const std::vector<int64_t>& lengths,
                                               int64_t capacity, size_t max_per_bin) {
  std::vector<int32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  std::vector<std::vector<int32_t>> bins;
  std::vector<int64_t> used;
  for (int32_t index : order) {
    const int64_t length = lengths[static_cast<size_t>(index)];
    size_t bin = 0;
    while (bin < bins.size() && (used[bin] + length > capacity || bins[bin].size() >= max_per_bin))
      ++bin;
    if (bin == bins.size()) {
      bins.emplace_back();
      used.push_back(0);
    }
    bins[bin].push_back(index);
    used[bin] += length;
  }
  return bins;
}

}  // namespace

TEST(Packing, SmallCase_IsFirstFitDecreasing) {
  const Packing packing = pack_first_fit_decreasing({4, 8, 1, 4, 2, 1}, 10, 200);
  const std::vector<std::vector<int32_t>> expected = {{1, 4}, {0, 3, 2, 5}};
  EXPECT_EQ(packing.bins, expected);
  EXPECT_DOUBLE_EQ(packing.efficiency, 1.0);
}

TEST(Packing, RandomLengths_AgreeWithTheTextbookLoop) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<int64_t> lengths = random_lengths(1 + seed * 9, 64, seed);
    for (int64_t max_per_bin : {1, 3, 200}) {
      const Packing packing = pack_first_fit_decreasing(lengths, 64, max_per_bin);
      ASSERT_EQ(packing.bins, pack_plainly(lengths, 64, static_cast<size_t>(max_per_bin)))
          << "seed " << seed << ", at most " << max_per_bin << " a bin";
    }
  }
}

TEST(Packing, HundredThousandRows_AppearOnceAndFitAndFillTheBins) {
  const std::vector<int64_t> lengths = random_lengths(100000, 700, 5);
  const Packing packing = pack_first_fit_decreasing(lengths, 2048, 200);
  std::vector<int> times(lengths.size(), 0);
  int64_t total = 0;
  for (const auto& bin : packing.bins) {
    int64_t used = 0;
    for (int32_t index : bin) {
      ++times[static_cast<size_t>(index)];
      used += lengths[static_cast<size_t>(index)];
    }
    EXPECT_LE(used, 2048);
    EXPECT_LE(bin.size(), 200u);
    EXPECT_FALSE(bin.empty());
    total += used;
  }
  EXPECT_EQ(std::count(times.begin(), times.end(), 1), 100000);
  EXPECT_DOUBLE_EQ(packing.efficiency, static_cast<double>(total) /
                                           (2048.0 * static_cast<double>(packing.bins.size())));
  EXPECT_GT(packing.efficiency, 0.99);
}

TEST(Packing, FullBin_TakesNoFurtherSample) {
  const Packing packing = pack_first_fit_decreasing({1, 1, 1, 1, 1}, 100, 2);
  const std::vector<std::vector<int32_t>> expected = {{0, 1}, {2, 3}, {4}};
  EXPECT_EQ(packing.bins, expected);
}

TEST(Packing, NoRows_GiveNoBins) {
  const Packing packing = pack_first_fit_decreasing({}, 16, 200);
  EXPECT_TRUE(packing.bins.empty());
  EXPECT_DOUBLE_EQ(packing.efficiency, 1.0);
}

TEST(Packing, RowBeyondTheCapacity_IsAnErrorWithBothNumbers) {
  const std::string message = message_of<Error>([] {
    pack_first_fit_decreasing({3, 17}, 16, 200);
  });
  EXPECT_NE(message.find("17"), std::string::npos) << message;
  EXPECT_NE(message.find("16"), std::string::npos) << message;
}

}  // namespace tune
