// One slice of the backward with scores as [key][query]: lane l holds of each 16 keys l / 4 and
// l / 4 + 8, and of every 8 queries 2 * (l % 4) and the next.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/block_mask.cuh"
#include "pair/gradient.cuh"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"
#include "tile/gradient.cuh"
#include "tile/key_dropout.cuh"
#include "tile/products.cuh"

namespace regard::gpu {

// 16-row tiles of keys that each warp owns.
constexpr int key_tiles(const AttnConfig& config) {
  return config.block_k * config.column_parts / (16 * config.num_warps);
}

// kCount floats (whole pieces) from the workspace; beside load_tile's copies.
template <AttnConfig kCfg, int kCount>
REGARD_DEVICE void load_floats(unsigned short* tile, const float* source) {
  const auto* from = reinterpret_cast<const unsigned short*>(source);
  static_assert(kCount / 4 <= kCfg.num_threads());
  if (const int i = thread_in_block(); i < kCount / 4) {
    if constexpr (kCfg.copies_async) {
      async_copy_piece(tile + i * 8, from + i * 8, true);
    } else {
      store_shared_piece(tile + i * 8, load_global_piece(from + i * 8));
    }
  }
}

// Where a slice lies: keys and queries of the sequence, the warp's first row of the tile of keys,
// the slice's first row of the tile of queries, the warp's part of the columns.
struct SlicePlace {
  int first_key, first_query, key_row, query_row, part;
};

template <AttnConfig kCfg>
REGARD_DEVICE FloatPair row_pair(const unsigned short* floats, int row) {
  return load_shared(reinterpret_cast<const FloatPair*>(floats + 2 * row));
}

// Sums of dO . v begin at first_d_weight of their query.
template <AttnConfig kCfg, int kTiles, int kCols>
REGARD_DEVICE void begin_d_weights(Sums<kTiles, kCols>& sums, const unsigned short* delta,
                                   int query_row) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int n = 0; n < kCols / 8; ++n) {
    const FloatPair pair = row_pair<kCfg>(delta, query_row + n * 8 + lane % 4 * 2);
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      sums[t][n][0] = sums[t][n][2] = first_d_weight<kCfg>(pair.low);
      sums[t][n][1] = sums[t][n][3] = first_d_weight<kCfg>(pair.high);
    }
  }
}

// Products to weights, sums of dO . v to gradients of scores. kIsClear: every query sees every key
// as far as limits and block mask go.
template <AttnConfig kCfg, bool kIsClear, int kTiles, int kCols>
REGARD_DEVICE void finish_slice(Sums<kTiles, kCols>& scores, Sums<kTiles, kCols>& d_weights,
                                const AttnBwdParams& p, const Head& head, const SlicePlace& place,
                                const unsigned short* lse, const unsigned short* delta) {
  constexpr bool kMayHide = !kIsClear || kCfg.masks_pairs();
  const int lane = thread_in_block() % 32;
  const int first_key = place.first_key + place.key_row + lane / 4;
  const int first_query = place.first_query + place.query_row + lane % 4 * 2;
  KeyDropout<kCfg, kTiles, kCols> dropout;
  dropout.draw(p, head, place.first_key + place.key_row, place.first_query + place.query_row);
  REGARD_UNROLL
  for (int i = 0; i < 2 * kTiles; ++i) {
    const int t = i / 2, r = i % 2, key = first_key + i * 8;
    const bool is_row = key < head.sequence.k_len;
    const QueryLimits queries = is_row ? query_limits<kCfg>(p, head, key) : QueryLimits{0, 0};
    REGARD_UNROLL
    for (int n = 0; n < kCols / 8; ++n) {
      const int row = place.query_row + n * 8 + lane % 4 * 2;
      const FloatPair lses = row_pair<kCfg>(lse, row);
      const FloatPair deltas = kCfg.has_dropout ? row_pair<kCfg>(delta, row) : FloatPair{};
      REGARD_UNROLL
      for (int e = 0; e < 2; ++e) {
        const int query = first_query + n * 8 + e;
        float &score = scores[t][n][2 * r + e], &d_weight = d_weights[t][n][2 * r + e];
        const PairGradient gradient = pair_gradient<kCfg, kMayHide>(
            p,
            pair_score<kCfg>(p, head, query, key, score, kIsClear || queries.contain(query),
                             kIsClear ? Listing::full : Listing::mixed),
            e == 0 ? RowTerms{lses.low, deltas.low} : RowTerms{lses.high, deltas.high}, d_weight,
            dropout.factor(p, t, n, 2 * r + e));
        score = gradient.weight;
        d_weight = gradient.score;
      }
    }
  }
}

// Pairs of the warp's keys and queries query_row .. query_row + slice_q of the step.
template <AttnConfig kCfg>
REGARD_DEVICE PairTile pairs_of_slice(const SlicePlace& place, int query_row) {
  const int query = place.first_query + query_row, key = place.first_key + place.key_row;
  return {query, query + kCfg.slice_q, key, key + 16 * key_tiles(kCfg)};
}

// What limits and block mask say of the slice as a whole: hidden, where no query sees any key of
// the warp (under a causal mask a quarter of the slices on the diagonal, and with short sequences
// those are most); full or listed for what the block mask says, whatever the limits do to single
// pairs.
template <AttnConfig kCfg>
REGARD_DEVICE Listing listing_of_slice(const AttnBwdParams& p, const Head& head,
                                       const SlicePlace& place, int query_row) {
  PairTile pairs = pairs_of_slice<kCfg>(place, query_row);
  if constexpr (kCfg.has_limits || kCfg.has_chunks) {
    if (key_limits<kCfg>(p, head, pairs.q_end - 1).hi <= pairs.k_begin ||
        key_limits<kCfg>(p, head, pairs.q_begin).lo >= pairs.k_end) {
      return Listing::hidden;
    }
  }
  if constexpr (kCfg.has_block_mask) {
    const Sequence& sequence = head.sequence;
    pairs.q_end = pairs.q_end < sequence.q_len ? pairs.q_end : sequence.q_len;
    pairs.k_end = pairs.k_end < sequence.k_len ? pairs.k_end : sequence.k_len;
    return pairs.q_begin < pairs.q_end && pairs.k_begin < pairs.k_end
               ? listing_of_tile(p, head, pairs)
               : Listing::hidden;
  }
  return Listing::full;
}

// Whether every query of the slice sees every key of the warp, as far as limits and block mask go.
// Queries past the last have weight 0 by their LSE.
template <AttnConfig kCfg>
REGARD_DEVICE bool is_clear_slice(const AttnBwdParams& p, const Head& head, const SlicePlace& place,
                                  Listing listing) {
  const PairTile pairs = pairs_of_slice<kCfg>(place, place.query_row);
  return (listing == Listing::full || (listing == Listing::listed && !kCfg.has_mask_program)) &&
         (!kCfg.reads_pairs() || pairs.q_end <= head.sequence.q_len) &&
         key_limits<kCfg>(p, head, pairs.q_end - 1).lo <= pairs.k_begin &&
         key_limits<kCfg>(p, head, pairs.q_begin).hi >= pairs.k_end;
}

// P^T or dS^T to shared memory: [key][query].
template <AttnConfig kCfg, int kTiles, int kCols>
REGARD_DEVICE void store_slice(unsigned short* tile, const SlicePlace& place,
                               const Fragments<kTiles, kCols>& fragments) {
  constexpr int kStride = bwd_layout(kCfg).pair_stride;
  const int lane = thread_in_block() % 32;
  unsigned short* row =
      tile + (place.key_row + lane / 4) * kStride + place.query_row + lane % 4 * 2;
  REGARD_UNROLL
  for (int t = 0; t < kTiles; ++t) {
    REGARD_UNROLL
    for (int i = 0; i < kCols / 4; ++i) {
      unsigned short* to = row + (t * 16 + i % 2 * 8) * kStride + i / 2 * 8;
      store_shared(reinterpret_cast<unsigned*>(to), fragments[i / 4][t][i % 4]);
    }
  }
}

// Sums of the warp's keys: all columns, or its part of them.
template <AttnConfig kCfg>
struct KeySums {
  static constexpr int kTiles = key_tiles(kCfg);
  static constexpr int kKeyCols = kCfg.head_dim / kCfg.column_parts;
  static constexpr int kValueCols = kCfg.value_dim / kCfg.column_parts;

  Sums<kTiles, kKeyCols> dk;
  Sums<kTiles, kValueCols> dv;
};

// dS^T, and P^T where warps exchange it.
struct PairTiles {
  unsigned short *weights, *ds;
};

// The same of the slice that the other warp of these keys has computed.
template <AttnConfig kCfg>
REGARD_DEVICE void add_other_slice(KeySums<kCfg>& sums, const SlicePlace& place,
                                   const PairTiles& tiles, const unsigned short* q,
                                   const unsigned short* d_o) {
  constexpr int kStride = bwd_layout(kCfg).pair_stride;
  using S = KeySums<kCfg>;
  const int other = place.query_row ^ kCfg.slice_q, first = place.key_row * kStride + other;
  multiply_tiles<kCfg, S::kTiles, S::kValueCols, kCfg.slice_q>(
      sums.dv, tiles.weights + first, kStride,
      d_o + other * kCfg.v_stride() + place.part * S::kValueCols, kCfg.v_stride());
  multiply_tiles<kCfg, S::kTiles, S::kKeyCols, kCfg.slice_q>(
      sums.dk, tiles.ds + first, kStride, q + other * kCfg.k_stride() + place.part * S::kKeyCols,
      kCfg.k_stride());
}

// Weights and gradients of scores of one slice.
template <AttnConfig kCfg>
REGARD_DEVICE void compute_slice(Fragments<key_tiles(kCfg), kCfg.slice_q>& weights,
                                 Fragments<key_tiles(kCfg), kCfg.slice_q>& gradients,
                                 const AttnBwdParams& p, const Head& head, const SlicePlace& place,
                                 Listing listing, const unsigned short* shared,
                                 const unsigned short* rows) {
  constexpr BwdLayout kLayout = bwd_layout(kCfg);
  constexpr int kTiles = key_tiles(kCfg), kCols = kCfg.slice_q;
  Sums<kTiles, kCols> scores, d_weights;
  clear<kTiles, kCols>(scores);
  multiply_rows<kCfg, kTiles, kCols, kCfg.head_dim>(
      scores, shared + place.key_row * kCfg.k_stride(), kCfg.k_stride(),
      rows + place.query_row * kCfg.k_stride(), kCfg.k_stride());
  begin_d_weights<kCfg, kTiles, kCols>(d_weights, rows + kLayout.delta, place.query_row);
  multiply_rows<kCfg, kTiles, kCols, kCfg.value_dim>(
      d_weights, shared + kLayout.v + place.key_row * kCfg.v_stride(), kCfg.v_stride(),
      rows + kLayout.d_o + place.query_row * kCfg.v_stride(), kCfg.v_stride());
  if (is_clear_slice<kCfg>(p, head, place, listing)) {
    finish_slice<kCfg, true, kTiles, kCols>(scores, d_weights, p, head, place, rows + kLayout.lse,
                                            rows + kLayout.delta);
  } else {
    finish_slice<kCfg, false, kTiles, kCols>(scores, d_weights, p, head, place, rows + kLayout.lse,
                                             rows + kLayout.delta);
  }
  pack_sums<kCfg, kTiles, kCols>(weights, scores);
  pack_sums<kCfg, kTiles, kCols>(gradients, d_weights);
}

// dv += P^T dO, dk += dS^T Q of one slice, and dS^T to shared memory where dQ wants it. `rows`: the
// step's stage. With two column parts two warps have the same keys: each computes one slice, shows
// it to the other, and adds up its part of the columns over both.
template <AttnConfig kCfg>
REGARD_DEVICE void add_slice(KeySums<kCfg>& sums, const AttnBwdParams& p, const Head& head,
                             const SlicePlace& place, const unsigned short* shared,
                             const unsigned short* rows, const PairTiles& tiles) {
  using S = KeySums<kCfg>;
  constexpr int kTiles = S::kTiles, kCols = kCfg.slice_q;
  const unsigned short* d_o = rows + bwd_layout(kCfg).d_o;
  Fragments<kTiles, kCols> gradients = {};
  const Listing listing = listing_of_slice<kCfg>(p, head, place, place.query_row);
  if (listing != Listing::hidden) {
    Fragments<kTiles, kCols> weights;
    compute_slice<kCfg>(weights, gradients, p, head, place, listing, shared, rows);
    if constexpr (kCfg.column_parts == 2) {
      store_slice<kCfg, kTiles, kCols>(tiles.weights, place, weights);
    }
    multiply_registers<kCfg, kTiles, S::kValueCols, kCols>(
        sums.dv, weights, d_o + place.query_row * kCfg.v_stride() + place.part * S::kValueCols,
        kCfg.v_stride());
  }
  if constexpr (kCfg.column_parts == 2 || !kCfg.is_deterministic) {
    store_slice<kCfg, kTiles, kCols>(tiles.ds, place, gradients);
  }
  if (listing != Listing::hidden) {
    multiply_registers<kCfg, kTiles, S::kKeyCols, kCols>(
        sums.dk, gradients, rows + place.query_row * kCfg.k_stride() + place.part * S::kKeyCols,
        kCfg.k_stride());
  }
  if constexpr (kCfg.column_parts == 2) {
    warp_pair_barrier();  // the other warp's slice is there
    const int other = place.query_row ^ kCfg.slice_q;
    if (listing_of_slice<kCfg>(p, head, place, other) != Listing::hidden) {
      add_other_slice<kCfg>(sums, place, tiles, rows, d_o);
    }
  }
}

}  // namespace regard::gpu
