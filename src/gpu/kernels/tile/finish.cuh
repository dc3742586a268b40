// The end of a row: from max and sum of its weights to the factor of its output and its LSE, and
// the output's elements to memory.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

struct FinishedRow {
  float factor;  // of the sum over keys of weight * value
  float lse;     // natural logarithm
};

// `max` and `sum` of 2^(score - max) in units of log2; -infinity and 0: the row saw no key.
template <AttnConfig kCfg>
REGARD_DEVICE FinishedRow finish_row(const Head& head, float max, float sum) {
  constexpr float kLn2 = 0.69314718055994531f;
  if constexpr (kCfg.has_sink) {  // a key without a value
    const float largest = maximum(max, head.sink_log2);
    const float shift = largest == -infinity() ? 0.0f : largest;
    const float rescale = exp2_fast(max - shift);
    const float total = sum * rescale + exp2_fast(head.sink_log2 - shift);
    return {total == 0.0f ? 0.0f : rescale / total, (largest + log2_fast(total)) * kLn2};
  }
  return {sum == 0.0f ? 0.0f : 1.0f / sum, (max + log2_fast(sum)) * kLn2};
}

// Columns `col` (even) and the next of a row of `num_cols`.
template <AttnConfig kCfg>
REGARD_DEVICE void store_pair(unsigned short* to, int col, int num_cols, float low, float high) {
  const unsigned pair = pack<kCfg.element == Element::bf16>(low, high);
  if constexpr (kCfg.is_vectorised) {  // rows of whole pieces: both columns exist or neither does
    if (col < num_cols) {
      store_global(reinterpret_cast<unsigned*>(to + col), pair);
    }
  } else {
    if (col < num_cols) {
      store_global(to + col, static_cast<unsigned short>(pair));
    }
    if (col + 1 < num_cols) {
      store_global(to + col + 1, static_cast<unsigned short>(pair >> 16));
    }
  }
}

// Word i of the quad's lane j becomes word j of lane i.
REGARD_DEVICE Piece transpose_in_quad(Piece piece) {
  const int lane = thread_in_block() % 4;
  REGARD_UNROLL
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool is_upper = (lane & distance) != 0;
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      if ((i & distance) == 0) {
        unsigned &low = piece.word[i], &high = piece.word[i + distance];
        const unsigned other = shuffle_xor(is_upper ? low : high, distance);
        low = is_upper ? other : low;
        high = is_upper ? high : other;
      }
    }
  }
  return piece;
}

// A row that a quad holds, by all 32 lanes: of every 8 columns, lane l has 2 * (l % 4) and the next
// in out[column / 8][first .. first + 1]. Nothing is stored where `is_there` is false.
template <AttnConfig kCfg>
REGARD_DEVICE void store_row(unsigned short* to, bool is_there, int num_cols,
                             const float (&out)[kCfg.value_dim / 8][4], int first, float factor) {
  const int lane = thread_in_block() % 4;
  constexpr int kGroups = kCfg.value_dim / 8;
  constexpr int kWhole = kCfg.is_vectorised ? kGroups / 4 * 4 : 0;
  REGARD_UNROLL
  for (int n = 0; n < kWhole; n += 4) {  // four groups of 8 columns, a piece of 16 bytes a lane
    Piece piece;
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      piece.word[i] = pack<kCfg.element == Element::bf16>(out[n + i][first] * factor,
                                                          out[n + i][first + 1] * factor);
    }
    piece = transpose_in_quad(piece);
    const int col = (n + lane) * 8;
    if (is_there && col < num_cols) {
      store_global_piece(to + col, piece);
    }
  }
  REGARD_UNROLL
  for (int n = kWhole; n < kGroups; ++n) {
    if (is_there) {
      store_pair<kCfg>(to, n * 8 + lane * 2, num_cols, out[n][first] * factor,
                       out[n][first + 1] * factor);
    }
  }
}

}  // namespace regard::gpu
