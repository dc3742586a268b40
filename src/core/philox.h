// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and the dropout
// mask drawn from it. The mask is a function of (seed; sequence, head, query, key), so tiling,
// threads and back ends cannot change it.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

struct Philox4x32 {
  uint32_t word[4];
};

// Ten rounds over the counter; the key grows by the Weyl constants of the paper's table 2.
constexpr Philox4x32 philox4x32(Philox4x32 counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// One draw serves the four keys 4*key_group .. 4*key_group + 3: word i belongs to key 4*group + i.
// `query` and keys count from the sequence's first ones, `head` is the query head.
constexpr Philox4x32 dropout_words(uint64_t seed, int64_t sequence, int64_t head, int64_t query,
                                   int64_t key_group) {
  return philox4x32({{static_cast<uint32_t>(key_group), static_cast<uint32_t>(query),
                      static_cast<uint32_t>(head), static_cast<uint32_t>(sequence)}},
                    seed);
}

// A weight is dropped where its word is below this: probability * 2^32, exact for every float < 1.
constexpr uint32_t dropout_threshold(float probability) {
  return static_cast<uint32_t>(static_cast<double>(probability) * 4294967296.0);
}

// What a kept weight is multiplied by.
constexpr float dropout_scale(float probability) { return 1.0f / (1.0f - probability); }

constexpr bool is_kept(const Dropout& dropout, int64_t sequence, int64_t head, int64_t query,
                       int64_t key) {
  const Philox4x32 words = dropout_words(dropout.seed, sequence, head, query, key / 4);
  return words.word[key % 4] >= dropout_threshold(dropout.probability);
}

}  // namespace regard::core
