// Online softmax of the rows a warp owns (Milakov and Gimelshein 2018, arXiv 1805.02867). The four
// lanes of a quad share their rows.
#pragma once

#include "attn_config.h"
#include "platform.cuh"
#include "tile/mma.cuh"

namespace regard::gpu {

// The reference of a row's weights trails its maximum by up to this much, in units of log2: weights
// up to 2^8 harm neither f32 sums nor 16-bit weights, and sums and outputs are hardly ever scaled.
// Not where weights are rounded to e4m3, whose range begins at the row's largest.
template <AttnConfig kCfg>
inline constexpr float kMostTrailing = kCfg.values == ValueRounding::e4m3 ? 0.0f : 8.0f;

// Of rows l / 4 and l / 4 + 8 of each row tile.
template <AttnConfig kCfg>
struct RowState {
  float max[kCfg.row_tiles()][2];  // the reference; -infinity where no key was seen
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

// Sums and outputs so far of a row, to a new reference.
template <AttnConfig kCfg>
REGARD_DEVICE void scale_row(RowState<kCfg>& rows, OutputTile<kCfg>& out, int t, int r, float max) {
  // A row that has seen nothing yet: 2^(-inf - 0) = 0, where -inf - -inf would be NaN.
  const float factor = exp2_fast(rows.max[t][r] - (max == -infinity() ? 0.0f : max));
  rows.max[t][r] = max;
  rows.sum[t][r] *= factor;
  REGARD_UNROLL
  for (int n = 0; n < kCfg.value_dim / 8; ++n) {
    out[t][n][2 * r] *= factor;
    out[t][n][2 * r + 1] *= factor;
  }
}

// Moves the references, where they trail too far, to the maximum of the scores so far. The scores
// are in units of log2 once multiplied by `factor`, which is positive.
template <AttnConfig kCfg>
REGARD_DEVICE void update_max(RowState<kCfg>& rows, const ScoreTile<kCfg>& scores,
                              OutputTile<kCfg>& out, float factor) {
  float max[kCfg.row_tiles()][2];  // of this lane's scores
  bool is_ahead = false;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      max[t][r] = maximum(scores[t][0][2 * r], scores[t][0][2 * r + 1]);
      REGARD_UNROLL
      for (int n = 1; n < kCfg.block_k / 8; ++n) {
        max[t][r] = maximum(max[t][r], maximum(scores[t][n][2 * r], scores[t][n][2 * r + 1]));
      }
      max[t][r] *= factor;
      is_ahead = is_ahead || max[t][r] > rows.max[t][r] + kMostTrailing<kCfg>;
    }
  }
  if (any_lane(is_ahead)) {
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      REGARD_UNROLL
      for (int r = 0; r < 2; ++r) {
        scale_row<kCfg>(rows, out, t, r, maximum(rows.max[t][r], max_of_quad(max[t][r])));
      }
    }
  }
}

// Scores become weights.
template <AttnConfig kCfg>
REGARD_DEVICE void exponentiate(RowState<kCfg>& rows, ScoreTile<kCfg>& scores, float factor) {
  REGARD_UNROLL
  for (int n = 0; n < kCfg.block_k / 8; ++n) {
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      REGARD_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float max = rows.max[t][i / 2];
        const float shift = max == -infinity() ? 0.0f : max;
        scores[t][n][i] = exp2_fast(scores[t][n][i] * factor - shift);
        rows.sum[t][i / 2] += scores[t][n][i];
      }
    }
  }
}

// Both.
template <AttnConfig kCfg>
REGARD_DEVICE void update_softmax(RowState<kCfg>& rows, ScoreTile<kCfg>& scores,
                                  OutputTile<kCfg>& out, float factor = 1.0f) {
  update_max<kCfg>(rows, scores, out, factor);
  exponentiate<kCfg>(rows, scores, factor);
}

}  // namespace regard::gpu
