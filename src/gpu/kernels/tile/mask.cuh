// What a query sees and what is added to its scores: limits, softcap, ALiBi.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

// One sequence (batch row or document) and query head.
struct Sequence {
  int batch;           // batch row of the operands
  int q_begin, q_len;  // in the row
  int k_begin, k_len;
};

template <AttnConfig kCfg>
REGARD_DEVICE Sequence sequence_at(const AttnFwdParams& p, int index) {
  if constexpr (kCfg.is_packed) {
    const int q_begin = load_global(p.q_offsets + index),
              k_begin = load_global(p.k_offsets + index);
    return {0, q_begin, load_global(p.q_offsets + index + 1) - q_begin, k_begin,
            load_global(p.k_offsets + index + 1) - k_begin};
  } else {
    return {index, 0, p.q_len, 0, p.k_len};
  }
}

// Keys [lo, hi) of a query, counted from the sequence's first; lo >= hi: none. Both grow with the
// query.
struct KeyLimits {
  int lo, hi;
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyLimits key_limits(const AttnFwdParams& p, const Sequence& sequence, int query) {
  KeyLimits keys{0, sequence.k_len};
  if constexpr (kCfg.has_limits) {
    const int own = query + (p.is_upper_left ? 0 : sequence.k_len - sequence.q_len);
    keys.lo = own - p.left > 0 ? own - p.left : 0;
    keys.hi = own + p.right + 1 < keys.hi ? own + p.right + 1 : keys.hi;
  }
  return keys;
}

// A raw product as a score in units of log2: exp2 of it is the weight.
template <AttnConfig kCfg>
REGARD_DEVICE float finish_score(const AttnFwdParams& p, float product, float slope, int distance) {
  float score = product * p.score_factor;
  if constexpr (kCfg.has_softcap) {  // tanh(x) = 1 - 2 / (e^2x + 1)
    constexpr float kTwoLog2E = 2.8853900817779268f;
    score = p.softcap_log2 * (1.0f - 2.0f * reciprocal_fast(exp2_fast(score * kTwoLog2E) + 1.0f));
  }
  if constexpr (kCfg.has_alibi) {
    score -= slope * static_cast<float>(distance < 0 ? -distance : distance);
  }
  return score;
}

}  // namespace regard::gpu
