// Dropout of the weights that a warp holds (tile/mma.cuh has the map of lanes).
#pragma once

#include "attn_config.h"
#include "pair/dropout.cuh"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "tile/mma.cuh"

namespace regard::gpu {

// Which weights of a ScoreTile are kept. Two lanes share the four keys of a draw: the even one
// draws for the upper row, the odd one for the lower, and they exchange bits: one draw a lane for
// four weights.
template <AttnConfig kCfg>
struct KeptWeights {
  static constexpr int kWords = (kCfg.block_k + 63) / 64;
  unsigned row[2][kCfg.row_tiles()][kWords];  // 4 bits for each 8 columns: keys of the draw

  REGARD_DEVICE bool contain(int t, int n, int i) const {
    const int bit = n % 8 * 4 + thread_in_block() % 2 * 2 + i % 2;
    return (row[i / 2][t][n / 8] >> bit & 1) != 0;
  }
};

// Of queries first_query + first_row_of_warp() .. and keys first_key ..; all 32 lanes call this.
template <AttnConfig kCfg>
REGARD_DEVICE KeptWeights<kCfg> kept_weights(const ProblemParams& p, const Head& head,
                                             int first_query, int first_key) {
  const int lane = thread_in_block() % 32;
  const bool is_odd = lane % 2 != 0;
  KeptWeights<kCfg> kept;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    const int query =
        first_query + first_row_of_warp<kCfg>() + t * 16 + lane / 4 + (is_odd ? 8 : 0);
    REGARD_UNROLL
    for (int w = 0; w < KeptWeights<kCfg>::kWords; ++w) {
      unsigned own = 0;
      REGARD_UNROLL
      for (int n = w * 8; n < w * 8 + 8 && n < kCfg.block_k / 8; ++n) {
        const PhiloxWords words = dropout_words(p.dropout_seed, head.sequence.index, head.index,
                                                query, first_key / 4 + n * 2 + lane % 4 / 2);
        REGARD_UNROLL
        for (int i = 0; i < 4; ++i) {
          own |= words.word[i] >= p.dropout_threshold ? 1u << (n % 8 * 4 + i) : 0u;
        }
      }
      const unsigned other = shuffle_xor(own, 1);
      kept.row[0][t][w] = is_odd ? other : own;
      kept.row[1][t][w] = is_odd ? own : other;
    }
  }
  return kept;
}

// Zeros for weights that are dropped; those that are kept still lack dropout_scale.
template <AttnConfig kCfg>
REGARD_DEVICE void drop_weights(ScoreTile<kCfg>& weights, const ProblemParams& p, const Head& head,
                                int first_query, int first_key) {
  const KeptWeights<kCfg> kept = kept_weights<kCfg>(p, head, first_query, first_key);
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 8; ++n) {
      REGARD_UNROLL
      for (int i = 0; i < 4; ++i) {
        weights[t][n][i] = kept.contain(t, n, i) ? weights[t][n][i] : 0.0f;
      }
    }
  }
}

}  // namespace regard::gpu
