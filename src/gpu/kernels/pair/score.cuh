// From a raw product q . k to a score, and the way back: what every kernel, forward and backward,
// applies to one pair (query, key). Order as in regard/problem.h: scale, softcap, program, bias,
// ALiBi, mask.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

inline constexpr float kLog2E = 1.4426950408889634f;

// One query head of one sequence.
struct Head {
  Sequence sequence;
  int index, kv_index;
  float alibi_slope;  // of has_alibi
};

template <AttnConfig kCfg>
REGARD_DEVICE Head head_at(const ProblemParams& p, const Sequence& sequence, int index) {
  Head head{sequence, index, index / p.heads_per_kv_head, 0.0f};
  if constexpr (kCfg.has_alibi) {
    head.alibi_slope = load_global(p.slopes + index + sequence.batch * p.slopes_stride_batch);
  }
  return head;
}

struct PairScore {
  float log2;   // score * log2(e): exp2 of it is the weight; -infinity where the pair is masked
  float slope;  // d score / d (q . k)
};

// The score of a pair within the key limits, which are the caller's to apply. `query` and `key`
// count from the sequence's first. What a caller does not use of the result costs nothing.
template <AttnConfig kCfg>
REGARD_DEVICE PairScore pair_score(const ProblemParams& p, const Head& head, int query, int key,
                                   float product) {
  PairScore score{product * p.score_factor, p.scale};
  if constexpr (kCfg.has_softcap) {  // tanh(x) = 1 - 2 / (e^2x + 1)
    const float tanh =
        1.0f - 2.0f * reciprocal_fast(exp2_fast(score.log2 * (2.0f * kLog2E)) + 1.0f);
    score.log2 = p.softcap_log2 * tanh;
    score.slope *= 1.0f - tanh * tanh;
  }
  if constexpr (kCfg.has_alibi) {
    const int distance = query + head.sequence.k_len - head.sequence.q_len - key;
    score.log2 -=
        kLog2E * head.alibi_slope * static_cast<float>(distance < 0 ? -distance : distance);
  }
  return score;
}

}  // namespace regard::gpu
