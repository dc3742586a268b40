// attn_bwd_terms_end: what runs before and after attn_bwd_terms, element by element.
// Math     pass 0: sums and largest magnitudes become 0, and a bias gradient that is written pair
// by
//          pair; pass 1: sums become f32 results.
// Tiling   grid = (any); each thread takes every (grid * threads)th element.
#pragma once

#include "attn_bwd_terms.cuh"

namespace regard::gpu {

// Element (batch, head, query, key) of the bias gradient from its contiguous index.
REGARD_DEVICE float* bias_element(const GradientTerms& terms, long long index) {
  long long element = 0;
  REGARD_UNROLL
  for (int axis = 3; axis >= 0; --axis) {
    element += index % terms.bias_extent[axis] * terms.bias_stride[axis];
    index /= terms.bias_extent[axis];
  }
  return terms.results[kBiasTerm] + element;
}

REGARD_DEVICE void clear_terms(const GradientTerms& terms, long long first, long long step) {
  for (long long i = first; i < terms.first_sum[kNumTerms]; i += step) {
    store_global(terms.sums + i, 0ull);
  }
  for (long long i = first; i < kNumTerms; i += step) {
    store_global(terms.largest + i, 0u);
  }
  if (terms.owns_bias != 0) {
    const long long(&extent)[4] = terms.bias_extent;
    for (long long i = first; i < extent[0] * extent[1] * extent[2] * extent[3]; i += step) {
      store_global(bias_element(terms, i), 0.0f);
    }
  }
}

REGARD_DEVICE void write_terms(const GradientTerms& terms, long long first, long long step) {
  for (long long i = first; i < terms.first_sum[kNumTerms]; i += step) {
    int term = 0;
    while (i >= terms.first_sum[term + 1]) {
      ++term;
    }
    const unsigned largest = load_global(terms.largest + term);
    const auto sum = static_cast<long long>(load_global(terms.sums + i));
    const float value = largest < 0x7F800000u
                            ? scaled(static_cast<float>(sum), -term_exponent(terms, term, largest))
                            : f32_from_word(0x7FC00000u);
    const long long element = i - terms.first_sum[term];
    store_global(term == kBiasTerm ? bias_element(terms, element) : terms.results[term] + element,
                 value);
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_terms_end(const AttnBwdParams& p, unsigned short*) {
  const long long first =
      static_cast<long long>(block_x()) * kCfg.num_threads() + thread_in_block();
  const long long step = static_cast<long long>(num_blocks_x()) * kCfg.num_threads();
  if (p.pass == 0) {
    clear_terms(p.terms, first, step);
  } else {
    write_terms(p.terms, first, step);
  }
}

}  // namespace regard::gpu
