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
  // score * log2(e): exp2 of it is the weight; -infinity where the pair is masked. With
  // kCfg.folds_scale it still lacks the factor score_factor.
  float log2;
  float slope;   // d score / d (q . k); of a masked pair any number
  bool is_seen;  // not masked
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
REGARD_DEVICE float bias_log2(float bias) {
  constexpr float kLowest = -3.40282347e38f;
  const float scaled = bias * kLog2E;
  return bias != -infinity() && scaled < kLowest ? kLowest : scaled;
}

// What ALiBi takes from PairScore::log2 for each position of distance.
template <AttnConfig kCfg>
REGARD_DEVICE float alibi_step(const ProblemParams& p, const Head& head) {
  const float step = kLog2E * head.alibi_slope;
  return kCfg.has_alibi && kCfg.folds_scale ? step / p.score_factor : step;
}

// What memory has to say of a pair.
struct PairTerms {
  float bias_log2 = 0.0f;
  bool is_masked = false;
};

// Of a pair that is inside the limits; else nothing is read.
template <AttnConfig kCfg>
REGARD_DEVICE PairTerms pair_terms(const ProblemParams& p, const Head& head, int query, int key,
                                   bool is_inside) {
  PairTerms terms;
  if constexpr (kCfg.bias != BiasFormat::none) {
    if (is_inside) {
      terms.bias_log2 =
          bias_log2(load_bias<kCfg.bias>(p.bias.data, pair_element(p.bias, head, query, key)));
    }
  }
  if constexpr (kCfg.has_mask) {
    const auto* mask = static_cast<const unsigned char*>(p.mask.data);
    terms.is_masked = is_inside && load_global(mask + pair_element(p.mask, head, query, key)) == 0;
  }
  return terms;
}

// Elements that stand in one aligned place.
template <typename T>
struct alignas(2 * sizeof(T)) Two {
  T first, second;
};

// Of keys `key` (even) and the next, in one access each; kCfg.loads_twos.
template <AttnConfig kCfg>
REGARD_DEVICE void pair_terms_of_two(PairTerms (&terms)[2], const ProblemParams& p,
                                     const Head& head, int query, int key, bool is_any_inside) {
  if (!is_any_inside) {
    return;
  }
  if constexpr (kCfg.bias == BiasFormat::f32) {
    const auto* bias = static_cast<const float*>(p.bias.data);
    const auto two = load_global(
        reinterpret_cast<const Two<float>*>(bias + pair_element(p.bias, head, query, key)));
    terms[0].bias_log2 = bias_log2(two.first);
    terms[1].bias_log2 = bias_log2(two.second);
  } else if constexpr (kCfg.bias != BiasFormat::none) {
    constexpr bool kIsBf16 = kCfg.bias == BiasFormat::bf16;
    const auto* bias = static_cast<const unsigned short*>(p.bias.data);
    const unsigned two = load_global(
        reinterpret_cast<const unsigned*>(bias + pair_element(p.bias, head, query, key)));
    terms[0].bias_log2 = bias_log2(f32_from_bits<kIsBf16>(two & 0xFFFFu));
    terms[1].bias_log2 = bias_log2(f32_from_bits<kIsBf16>(two >> 16));
  }
  if constexpr (kCfg.has_mask) {
    const auto* mask = static_cast<const unsigned char*>(p.mask.data);
    const unsigned two = load_global(
        reinterpret_cast<const unsigned short*>(mask + pair_element(p.mask, head, query, key)));
    terms[0].is_masked = (two & 0xFFu) == 0;
    terms[1].is_masked = two >> 8 == 0;
  }
}

// Whether block mask and mask program let the pair through.
template <AttnConfig kCfg>
REGARD_DEVICE bool masks_allow(const ProblemParams& p, const Head& head, int query, int key,
                               Listing listing) {
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

// The capped score * log2(e) of a product of at most small_product.
REGARD_DEVICE float small_capped_log2(const ProblemParams& p, float product) {
  const float square = product * product;
  float sum = p.small_cap[5];
  REGARD_UNROLL
  for (int i = 4; i >= 0; --i) {
    sum = sum * square + p.small_cap[i];
  }
  return product * sum;
}

// pair_score() below for callers that know the pair's terms and what ALiBi takes. kIsSmall: the
// caller knows that |product| is at most small_product.
template <AttnConfig kCfg, bool kIsSmall = false>
REGARD_DEVICE PairScore pair_score_with(const ProblemParams& p, const Head& head, int query,
                                        int key, float product, const PairTerms& terms, float alibi,
                                        bool is_inside, Listing listing) {
  PairScore score{kCfg.folds_scale ? product : product * p.score_factor, p.scale, true};
  if constexpr (kCfg.has_softcap && kIsSmall) {
    score.log2 = small_capped_log2(p, product);
    const float tanh = score.log2 / p.softcap_log2;
    score.slope *= 1.0f - tanh * tanh;
  } else if constexpr (kCfg.has_softcap) {  // tanh(x) = 1 - 2 / (e^2x + 1)
    const float part = reciprocal_fast(exp2_fast(score.log2 * (2.0f * kLog2E)) + 1.0f);
    const float tanh = 1.0f - 2.0f * part;
    score.log2 = p.softcap_log2 - 2.0f * p.softcap_log2 * part;
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
    score.log2 += terms.bias_log2;
  }
  if constexpr (kCfg.has_alibi) {
    score.log2 -= alibi;
  }
  score.is_seen = is_inside && !terms.is_masked && masks_allow<kCfg>(p, head, query, key, listing);
  score.log2 = score.is_seen ? score.log2 : -infinity();
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
  const float alibi =
      alibi_step<kCfg>(p, head) * static_cast<float>(distance < 0 ? -distance : distance);
  return pair_score_with<kCfg>(p, head, query, key, product,
                               pair_terms<kCfg>(p, head, query, key, is_inside), alibi, is_inside,
                               listing);
}

}  // namespace regard::gpu
