// The dropout mask: Philox4x32-10 counted by (sequence, head, query, key), bit for bit that of the
// CPU (core/philox.h).
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

struct PhiloxWords {
  unsigned word[4];
};

// Word i belongs to key 4 * key_group + i.
REGARD_DEVICE PhiloxWords dropout_words(unsigned long long seed, int sequence, int head, int query,
                                        int key_group) {
  unsigned c0 = static_cast<unsigned>(key_group), c1 = static_cast<unsigned>(query),
           c2 = static_cast<unsigned>(head), c3 = static_cast<unsigned>(sequence);
  unsigned key0 = static_cast<unsigned>(seed), key1 = static_cast<unsigned>(seed >> 32);
  REGARD_UNROLL
  for (int round = 0; round < 10; ++round) {
    const unsigned long long product0 = 0xD2511F53ull * c0, product1 = 0xCD9E8D57ull * c2;
    c0 = static_cast<unsigned>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<unsigned>(product1);
    c2 = static_cast<unsigned>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<unsigned>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// What the weights of keys `key` (even) and key + 1 are multiplied by: 0 or dropout_scale.
struct DropoutPair {
  float factor[2];
};
REGARD_DEVICE DropoutPair dropout_pair(const ProblemParams& p, int sequence, int head, int query,
                                       int key) {
  const PhiloxWords words = dropout_words(p.dropout_seed, sequence, head, query, key / 4);
  const bool is_second = key % 4 != 0;
  const unsigned low = is_second ? words.word[2] : words.word[0];
  const unsigned high = is_second ? words.word[3] : words.word[1];
  return {{low < p.dropout_threshold ? 0.0f : p.dropout_scale,
           high < p.dropout_threshold ? 0.0f : p.dropout_scale}};
}

}  // namespace regard::gpu
