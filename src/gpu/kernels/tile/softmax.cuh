// Online softmax of the rows a warp owns (Milakov and Gimelshein 2018, arXiv 1805.02867). The four
// lanes of a quad share their rows.
#pragma once

#include "attn_config.h"
#include "platform.cuh"
#include "tile/mma.cuh"

namespace regard::gpu {

// Of rows l / 4 and l / 4 + 8 of each row tile.
template <AttnConfig kCfg>
struct RowState {
  float max[kCfg.row_tiles()][2];  // of the scores so far; -infinity where no key was seen
  float sum[kCfg.row_tiles()][2];  // of this lane's weights; the quad's is the row's

  REGARD_DEVICE void clear() {
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      max[t][0] = max[t][1] = -infinity();
      sum[t][0] = sum[t][1] = 0.0f;
    }
  }
};

REGARD_DEVICE float max_of_quad(float x) {
  x = maximum(x, shuffle_xor(x, 1));
  return maximum(x, shuffle_xor(x, 2));
}
REGARD_DEVICE float sum_of_quad(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

// Scores (in units of log2) become weights; sums and outputs so far are scaled to the new maximum.
template <AttnConfig kCfg>
REGARD_DEVICE void update_softmax(RowState<kCfg>& rows, ScoreTile<kCfg>& scores,
                                  OutputTile<kCfg>& out) {
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      float max = rows.max[t][r];
      REGARD_UNROLL
      for (int n = 0; n < kCfg.block_k / 8; ++n) {
        max = maximum(scores[t][n][2 * r], maximum(scores[t][n][2 * r + 1], max));
      }
      max = max_of_quad(max);
      // A row that has seen nothing yet: 2^(-inf - 0) = 0, where -inf - -inf would be NaN.
      const float shift = max == -infinity() ? 0.0f : max;
      const float rescale = exp2_fast(rows.max[t][r] - shift);
      float sum = rows.sum[t][r] * rescale;
      REGARD_UNROLL
      for (int n = 0; n < kCfg.block_k / 8; ++n) {
        const float p0 = exp2_fast(scores[t][n][2 * r] - shift);
        const float p1 = exp2_fast(scores[t][n][2 * r + 1] - shift);
        scores[t][n][2 * r] = p0;
        scores[t][n][2 * r + 1] = p1;
        sum += p0 + p1;
      }
      REGARD_UNROLL
      for (int n = 0; n < kCfg.value_dim / 8; ++n) {
        out[t][n][2 * r] *= rescale;
        out[t][n][2 * r + 1] *= rescale;
      }
      rows.max[t][r] = max;
      rows.sum[t][r] = sum;
    }
  }
}

}  // namespace regard::gpu
