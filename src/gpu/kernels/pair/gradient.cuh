// From a score to its weight and its gradient: what every kernel of the backward applies to one
// pair (query, key).
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/exp2.cuh"
#include "pair/score.cuh"
#include "platform.cuh"

namespace regard::gpu {

// Of a row's workspace (AttnBwdParams).
struct RowTerms {
  float lse, delta;
};

struct PairGradient {
  float weight;  // with dropout: what V was multiplied by
  float score;   // d loss / d (q . k), divided by the scale
};

// Where the sums of dO . v begin: a subtraction of every pair comes for nothing, unless dropout has
// to be multiplied in between.
template <AttnConfig kCfg>
REGARD_DEVICE float first_d_weight(float delta) {
  return kCfg.has_dropout ? 0.0f : delta;
}

// `d_weight`: dO . v, begun at first_d_weight. With kMayHide a pair of weight 0 has gradient 0
// whatever the key and its value hold.
template <AttnConfig kCfg, bool kMayHide>
REGARD_DEVICE PairGradient pair_gradient(const AttnBwdParams& p, const PairScore& score,
                                         const RowTerms& row, float d_weight,
                                         float dropout_factor) {
  const float weight = exp2_of<kCfg.element>(score.log2 - row.lse);
  PairGradient gradient{weight, 0.0f};
  if constexpr (kCfg.has_dropout) {
    gradient.weight *= dropout_factor;
    d_weight = d_weight * dropout_factor + row.delta;
  }
  gradient.score = weight * d_weight;
  if constexpr (kCfg.has_softcap || kCfg.has_score_program) {
    gradient.score *= score.slope * p.inverse_scale;
  }
  if constexpr (kMayHide) {
    gradient.score = weight == 0.0f ? 0.0f : gradient.score;
  }
  return gradient;
}

}  // namespace regard::gpu
