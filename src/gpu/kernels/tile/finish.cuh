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

}  // namespace regard::gpu
