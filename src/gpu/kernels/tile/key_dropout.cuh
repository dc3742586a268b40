// Dropout of a slice of scores as [key][query]. One draw (pair/dropout.cuh) makes the words of four
// neighbouring keys, which lie in four lanes: each of those lanes makes one of their four draws
// (two groups of keys by two queries) and all get all 16 bits.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/dropout.cuh"
#include "pair/score.cuh"
#include "platform.cuh"

namespace regard::gpu {

template <AttnConfig kCfg, int kTiles, int kCols>
struct KeyDropout {
  // Bit 4 * draw + i of a fragment: key i of the group is kept. Draw 2 * (second group of keys) +
  // (second query). Two fragments a word.
  unsigned bits[kTiles][kCols / 16];

  REGARD_DEVICE void draw(const ProblemParams& p, const Head& head, int first_key,
                          int first_query) {
    if constexpr (kCfg.has_dropout) {
      const int lane = thread_in_block() % 32, own = lane / 4 % 4;
      REGARD_UNROLL
      for (int t = 0; t < kTiles; ++t) {
        REGARD_UNROLL
        for (int n = 0; n < kCols / 16; ++n) {
          unsigned kept = 0;
          REGARD_UNROLL
          for (int half = 0; half < 2; ++half) {
            const int key = first_key + t * 16 + lane / 16 * 4 + own / 2 * 8;
            const int query = first_query + n * 16 + half * 8 + lane % 4 * 2 + own % 2;
            const PhiloxWords words =
                dropout_words(p.dropout_seed, head.sequence.index, head.index, query, key / 4);
            REGARD_UNROLL
            for (int i = 0; i < 4; ++i) {
              kept |= (words.word[i] < p.dropout_threshold ? 0u : 1u) << (half * 16 + own * 4 + i);
            }
          }
          kept |= shuffle_xor(kept, 4);
          bits[t][n] = kept | shuffle_xor(kept, 8);
        }
      }
    }
  }

  // Of element i of fragment n.
  REGARD_DEVICE float factor(const ProblemParams& p, int t, int n, int i) const {
    if constexpr (kCfg.has_dropout) {
      const int key = thread_in_block() % 32 / 4 % 4;
      const unsigned bit = bits[t][n / 2] >> (n % 2 * 16 + i * 4 + key) & 1u;
      return bit != 0 ? p.dropout_scale : 0.0f;
    } else {
      return 1.0f;
    }
  }
};

}  // namespace regard::gpu
