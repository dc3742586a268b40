#include "core/philox.h"

#include <gtest/gtest.h>

#include <cmath>

namespace regard::core {
namespace {

void expect_words(const Philox4x32& got, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
  EXPECT_EQ(got.word[0], w0);
  EXPECT_EQ(got.word[1], w1);
  EXPECT_EQ(got.word[2], w2);
  EXPECT_EQ(got.word[3], w3);
}

// The known answers that the authors of Philox publish with their library (Random123, philox4x32
// with 10 rounds): all zeros, all ones, and digits of pi.
TEST(Philox, KnownAnswers_AreReproduced) {
  expect_words(philox4x32({{0, 0, 0, 0}}, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
  expect_words(
      philox4x32({{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}}, 0xffffffffffffffffu),
      0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu);
  expect_words(
      philox4x32({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0x299f31d0a4093822u),
      0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST(Dropout, ManyKeys_AreDroppedAtTheGivenRate) {
  constexpr int64_t kCount = 200'000;
  for (const float probability : {0.1f, 0.5f, 0.9f}) {
    const Dropout dropout{.probability = probability, .seed = 42};
    int64_t dropped = 0;
    for (int64_t key = 0; key < kCount; ++key) {
      dropped += is_kept(dropout, 3, 1, 7, key) ? 0 : 1;
    }
    const double deviation = std::sqrt(kCount * static_cast<double>(probability) *
                                       (1 - static_cast<double>(probability)));
    EXPECT_NEAR(static_cast<double>(dropped), kCount * static_cast<double>(probability),
                5 * deviation);
  }
}

TEST(Dropout, EveryCoordinateAndTheSeed_ChangeTheMask) {
  const auto mask = [](uint64_t seed, int64_t sequence, int64_t head, int64_t query) {
    uint64_t bits = 0;
    for (int64_t key = 0; key < 64; ++key) {
      bits = bits * 2 + (is_kept({0.5f, seed}, sequence, head, query, key) ? 1 : 0);
    }
    return bits;
  };
  const uint64_t base = mask(1, 0, 0, 0);
  EXPECT_NE(base, mask(2, 0, 0, 0));
  EXPECT_NE(base, mask(uint64_t{1} | (uint64_t{1} << 32), 0, 0, 0));
  EXPECT_NE(base, mask(1, 1, 0, 0));
  EXPECT_NE(base, mask(1, 0, 1, 0));
  EXPECT_NE(base, mask(1, 0, 0, 1));
  EXPECT_EQ(base, mask(1, 0, 0, 0));
}

TEST(Dropout, ZeroProbability_KeepsEverything) {
  for (int64_t key = 0; key < 1000; ++key) {
    EXPECT_TRUE(is_kept({0.0f, 9}, 0, 0, 0, key));
  }
}

}  // namespace
}  // namespace regard::core
