// From a raw product q . k to a score, and the way back: what every kernel, forward and backward,
// applies to one pair (query, key). Order as in regard/problem.h: scale, softcap, program, bias,
// ALiBi, mask.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/block_mask.cuh"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "programs.cuh"

namespace regard::gpu {

struct PairScore {
  // score * log2(e): exp2 of it is the weight; -infinity where the pair is masked. Where the config
  // folds the scale, still without score_factor.
  float log2;
  float slope;  // d score / d (q . k); of a masked pair any number
};

REGARD_DEVICE ProgramPair program_pair(const ProblemParams& p, const Head& head, int query, int key,
                                       bool is_packed) {
  const Sequence& sequence = head.sequence;
  return {sequence.batch,
          head.index,
          p.first_query + query,
          key,
          p.first_query + sequence.q_len,
          sequence.k_len,
          is_packed ? sequence.index : 0};
}

// Element of a mask or bias, which count queries and keys over the whole row.
REGARD_DEVICE long long pair_element(const PairTensorView& view, const Head& head, int query,
                                     int key) {
  const Sequence& sequence = head.sequence;
  return sequence.batch * view.stride_batch + head.index * view.stride_head +
         (sequence.q_begin + query) * view.stride_q + (sequence.k_begin + key) * view.stride_k;
}

template <BiasFormat kFormat>
REGARD_DEVICE float load_bias(const void* data, long long element) {
  if constexpr (kFormat == BiasFormat::f32) {
    return load_global(static_cast<const float*>(data) + element);
  } else {
    return f32_from_bits<kFormat == BiasFormat::bf16>(
        load_global(static_cast<const unsigned short*>(data) + element));
  }
}

// In units of log2. A bias of -infinity masks; a finite one never does, also where the product
// overflows.
template <AttnConfig kCfg>
REGARD_DEVICE float bias_log2(const ProblemParams& p, const Head& head, int query, int key) {
  constexpr float kLowest = -3.40282347e38f;
  const float bias = load_bias<kCfg.bias>(p.bias.data, pair_element(p.bias, head, query, key));
  const float scaled = bias * kLog2E;
  return bias != -infinity() && scaled < kLowest ? kLowest : scaled;
}

// Whether the masks beside the limits let the pair through.
template <AttnConfig kCfg>
REGARD_DEVICE bool masks_allow(const ProblemParams& p, const Head& head, int query, int key,
                               Listing listing) {
  if constexpr (kCfg.has_mask) {
    const auto* mask = static_cast<const unsigned char*>(p.mask.data);
    if (load_global(mask + pair_element(p.mask, head, query, key)) == 0) {
      return false;
    }
  }
  if constexpr (kCfg.has_block_mask) {
    listing = listing == Listing::mixed ? listing_of_pair(p, head, query, key) : listing;
    if (listing == Listing::hidden) {
      return false;
    }
    if (listing == Listing::full) {
      return true;
    }
  }
  if constexpr (kCfg.has_mask_program) {
    return mask_program(p, program_pair(p, head, query, key, kCfg.is_packed));
  }
  return true;
}

// What ALiBi takes from the score of a pair, in units of log2; `distance` is not negative.
REGARD_DEVICE float alibi_log2(const Head& head, float distance) {
  return kLog2E * head.alibi_slope * distance;
}

// pair_score() below for callers that know alibi_log2() of the pair.
template <AttnConfig kCfg>
REGARD_DEVICE PairScore pair_score_with(const ProblemParams& p, const Head& head, int query,
                                        int key, float product, float alibi, bool is_inside,
                                        Listing listing) {
  PairScore score{kCfg.folds_scale ? product : product * p.score_factor, p.scale};
  if constexpr (kCfg.has_softcap) {  // tanh(x) = 1 - 2 / (e^2x + 1)
    const float tanh =
        1.0f - 2.0f * reciprocal_fast(exp2_fast(score.log2 * (2.0f * kLog2E)) + 1.0f);
    score.log2 = p.softcap_log2 * tanh;
    score.slope *= 1.0f - tanh * tanh;
  }
  if constexpr (kCfg.has_score_program) {
    constexpr float kLn2 = 0.69314718055994531f;
    const float capped = kCfg.has_softcap ? score.log2 * kLn2 : product * p.scale;
    const ProgramScore result =
        score_program(p, program_pair(p, head, query, key, kCfg.is_packed), capped);
    score.log2 = result.score * kLog2E;
    score.slope *= result.slope;
  }
  if constexpr (kCfg.bias != BiasFormat::none) {
    score.log2 += is_inside ? bias_log2<kCfg>(p, head, query, key) : 0.0f;
  }
  if constexpr (kCfg.has_alibi) {
    score.log2 -= alibi;
  }
  if (!is_inside || !masks_allow<kCfg>(p, head, query, key, listing)) {
    score.log2 = -infinity();
  }
  return score;
}

// The score of a pair. `is_inside`: the pair exists and is within the key limits; of another one
// nothing is read and the score is -infinity. `listing`: what the caller knows from the block mask.
// `query` and `key` count from the sequence's first. What a caller does not use of the result costs
// nothing.
template <AttnConfig kCfg>
REGARD_DEVICE PairScore pair_score(const ProblemParams& p, const Head& head, int query, int key,
                                   float product, bool is_inside,
                                   Listing listing = Listing::mixed) {
  const int distance = query + head.sequence.k_len - head.sequence.q_len - key;
  const float alibi = alibi_log2(head, static_cast<float>(distance < 0 ? -distance : distance));
  return pair_score_with<kCfg>(p, head, query, key, product, alibi, is_inside, listing);
}

}  // namespace regard::gpu
