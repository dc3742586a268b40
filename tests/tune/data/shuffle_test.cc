#include "tune/data/shuffle.h"

#include <gtest/gtest.h>

namespace tune {
namespace {

// The first five numbers of seed 1234567, as the authors' C program prints them.
constexpr uint64_t kOfSeed1234567[] = {6457827717110365317u, 3203168211198807973u,
                                       9817491932198370423u, 4593380528125082431u,
                                       16408922859458223821u};

TEST(SplitMix64, KnownSeed_GivesThePublishedNumbers) {
  SplitMix64 generator(1234567);
  for (uint64_t index = 0; index < 5; ++index) {
    EXPECT_EQ(generator.next(), kOfSeed1234567[index]) << "number " << index;
    EXPECT_EQ(SplitMix64::at(1234567, index), kOfSeed1234567[index]) << "number " << index;
  }
}

TEST(SplitMix64, Below_StaysBelowAndReachesEverything) {
  SplitMix64 generator(5);
  std::vector<int> seen(7);
  for (int i = 0; i < 1000; ++i) ++seen.at(static_cast<size_t>(generator.below(7)));
  for (const int count : seen) EXPECT_GT(count, 90);  // 143 expected, deviation 11
}

}  // namespace
}  // namespace tune
