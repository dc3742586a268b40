// attn_fwd_mma: exact attention forward on the matrix units of Turing and later (mma.sync).
// Math     O = dropout(softmax(program(softcap(scale * Q K^T)) + bias + ALiBi, masked; sink)) V;
// LSE =
//          natural logarithm of the sum of exponentials of each row (for the backward).
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv]  O [B,Sq,Hq,Dv]  LSE [B,Hq,Sq] f32; any
//          strides, last = 1. Packed rows: B = 1, documents through offsets on the device.
// Tiling   grid = (ceil(Sq / block_q), Hq, B or documents), last queries first: under a causal mask
//          they have most keys; documents with lengths have one more, for rows of none. A block
//          owns block_q rows and loops over block_k keys; a warp owns 16 * row_tiles rows, so that
//          row max and sum never leave a quad of lanes.
// Memory   shared: Q tile + stages * (K tile + V tile), AttnConfig::smem_bytes; S, P and O, and
//          where they fit Q's fragments, in registers.
// Pipeline one stage: V(j) is requested before S(j) is computed, K(j+1) before the softmax of j;
// two
//          barriers a step. Two: K and V of j + 1 at the start of j, one barrier. Turing copies
//          through registers and does not overlap.
// Numerics f32 sums; exp2 with log2(e) folded into the scale; the reference of a row's weights may
//          trail its maximum by 2^8; P rounded to the operands' format for P V; a row that sees no
//          key gives O = 0, LSE = -inf (or the sink). Values of keys that no row of a warp sees are
//          not multiplied: NaN there does not show.
// Limits   D, Dv <= 256, f16 and bf16 (Turing f16); everything else in why_unsupported().
// Source   Dao 2023 (arXiv 2307.08691) algorithm 1; lane maps from the PTX manual.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"
#include "tile/dropout.cuh"
#include "tile/finish.cuh"
#include "tile/key_tiles.cuh"
#include "tile/mma.cuh"
#include "tile/softmax.cuh"

namespace regard::gpu {

// The rows of one thread block.
struct RowBlock {
  Head head;
  int first_query;
  KeyLimits keys;  // that some query of the block sees
};

template <AttnConfig kCfg>
REGARD_DEVICE RowBlock row_block(const AttnFwdParams& p) {
  RowBlock block;
  block.head = head_at<kCfg>(p, sequence_at<kCfg>(p, block_z()), block_y());
  const Sequence& sequence = block.head.sequence;
  block.first_query = (num_blocks_x() - 1 - block_x()) * kCfg.block_q;
  const int end = block.first_query + kCfg.block_q;
  const int last = (end < sequence.q_len ? end : sequence.q_len) - 1;
  block.keys = {key_limits<kCfg>(p, block.head, block.first_query).lo,
                key_limits<kCfg>(p, block.head, last).hi};
  return block;
}

// One step of the loop over keys: block_k of them from `key` on, and what the block mask says of
// them and all rows of the block. A key at the end of the block's keys: there is no step.
struct KeyStep {
  int key;
  Listing listing;
};

// The steps that some query of the block may see, in ascending order.
template <AttnConfig kCfg>
class KeySteps {
 public:
  REGARD_DEVICE KeySteps(const AttnFwdParams& p, const RowBlock& block)
      : q_end_(block.first_query + kCfg.block_q) {
    if constexpr (kCfg.has_block_mask) {
      const int q_len = block.head.sequence.q_len;
      q_end_ = q_end_ < q_len ? q_end_ : q_len;
      row_ = block_row(p, block.head, block.first_query);
      is_one_row_ = (block.head.sequence.q_begin + block.first_query) / p.block_mask_q ==
                    (block.head.sequence.q_begin + q_end_ - 1) / p.block_mask_q;
      at_ = block.keys.lo < block.keys.hi
                ? lower_bound(p, row_, block_column(p, block.head, block.keys.lo))
                : row_.end;
      load_listed(p, block);
    }
  }

  REGARD_DEVICE KeyStep first(const AttnFwdParams& p, const RowBlock& block) {
    return at_or_after(p, block, block.keys.lo / kCfg.block_k * kCfg.block_k);
  }
  REGARD_DEVICE KeyStep after(const AttnFwdParams& p, const RowBlock& block, const KeyStep& step) {
    return at_or_after(p, block, step.key + kCfg.block_k);
  }

 private:
  REGARD_DEVICE KeyStep at_or_after(const AttnFwdParams& p, const RowBlock& block, int key) {
    if constexpr (!kCfg.has_block_mask) {
      return {key, Listing::full};
    }
    const int end = block.keys.hi;
    if (key >= end) {
      return {end, Listing::hidden};
    }
    int listed = 0;
    if (is_one_row_) {
      while (at_ < row_.end && listed_end_ <= key) {
        ++at_;
        load_listed(p, block);
      }
      listed = at_ == row_.end ? end : listed_begin_;
    } else {
      listed = first_listed_key(p, block.head, {block.first_query, q_end_, key, end});
    }
    if (listed >= end) {
      return {end, Listing::hidden};
    }
    key = listed > key ? listed / kCfg.block_k * kCfg.block_k : key;
    const int key_end = key + kCfg.block_k < end ? key + kCfg.block_k : end;
    if (is_one_row_ && key >= listed_begin_ && key_end <= listed_end_) {
      return {key, is_full_ ? Listing::full : Listing::listed};
    }
    return {key, listing_of_tile(p, block.head, {block.first_query, q_end_, key, key_end})};
  }

  REGARD_DEVICE void load_listed(const AttnFwdParams& p, const RowBlock& block) {
    if (at_ < row_.end) {
      const long long begin =
          static_cast<long long>(load_global(p.block_columns + at_)) * p.block_mask_k -
          block.head.sequence.k_begin;
      listed_begin_ = static_cast<int>(begin < kUnbounded ? begin : kUnbounded);
      listed_end_ = listed_begin_ + p.block_mask_k;
      is_full_ = p.block_is_full != nullptr && load_global(p.block_is_full + at_) != 0;
    }
  }

  // Of has_block_mask. Where one block row holds all queries of the block, its list is followed.
  int q_end_;
  BlockRow row_;
  bool is_one_row_;
  int at_, listed_begin_, listed_end_;
  bool is_full_;
};

// What the rows of a warp see of a step's keys.
struct WarpStep {
  bool is_seen;   // some key by some row
  bool is_clear;  // as far as limits and block mask go, all; no distance of ALiBi changes its sign
  bool is_ahead;  // keys stand behind the queries they are aligned with: distances are negative
  Listing listing;
};

// The rows of a warp; computed once, since chunks divide.
struct WarpRows {
  int first, last;
  KeyLimits of_first, of_last;
};

template <AttnConfig kCfg>
REGARD_DEVICE WarpRows warp_rows(const AttnFwdParams& p, const RowBlock& block, int warp) {
  const int first = block.first_query + warp * 16 * kCfg.row_tiles();
  const int last = first + 16 * kCfg.row_tiles() - 1;
  return {first, last, key_limits<kCfg>(p, block.head, first),
          key_limits<kCfg>(p, block.head, last)};
}

template <AttnConfig kCfg>
REGARD_DEVICE WarpStep warp_step(const AttnFwdParams& p, const RowBlock& block,
                                 const WarpRows& rows, const KeyStep& step) {
  const Sequence& sequence = block.head.sequence;
  const auto [first, last, of_first, of_last] = rows;
  const int key_end = step.key + kCfg.block_k;
  constexpr bool kHidesSteps = kCfg.has_limits || kCfg.has_chunks || kCfg.has_block_mask;
  WarpStep of_warp{!kHidesSteps || (step.key < of_last.hi && key_end > of_first.lo),
                   (!kCfg.reads_pairs() || last < sequence.q_len) && step.key >= of_last.lo &&
                       key_end <= of_first.hi,
                   false, step.listing};
  if constexpr (kCfg.has_block_mask) {
    if (step.listing == Listing::mixed) {  // for the block; perhaps not for the warp
      const int q_end = last + 1 < sequence.q_len ? last + 1 : sequence.q_len;
      const int k_end = key_end < sequence.k_len ? key_end : sequence.k_len;
      of_warp.listing = listing_of_tile(p, block.head, {first, q_end, step.key, k_end});
      of_warp.is_seen = of_warp.is_seen && of_warp.listing != Listing::hidden;
    }
    of_warp.is_clear =
        of_warp.is_clear && (of_warp.listing == Listing::full ||
                             (!kCfg.has_mask_program && of_warp.listing == Listing::listed));
  }
  if constexpr (kCfg.has_alibi) {
    const int to_last = sequence.k_len - sequence.q_len;
    of_warp.is_ahead = step.key >= last + to_last;
    of_warp.is_clear = of_warp.is_clear && (of_warp.is_ahead || key_end <= first + to_last + 1);
  }
  return of_warp;
}

// Products of a step to scores; what a row does not see: -infinity. kIsClear: WarpStep::is_clear;
// kIsSmall: as pair_score_with() means it.
template <AttnConfig kCfg, bool kIsClear, bool kIsSmall>
REGARD_DEVICE SeenKeys<kCfg> finish_pairs(ScoreTile<kCfg>& scores, const AttnFwdParams& p,
                                          const RowBlock& block, int first_key,
                                          const WarpStep& step) {
  const int lane = thread_in_block() % 32;
  const int first_row = block.first_query + first_row_of_warp<kCfg>() + lane / 4;
  const int first_col = first_key + lane % 4 * 2;
  const int to_last = block.head.sequence.k_len - block.head.sequence.q_len;
  const float alibi_of_ahead = alibi_step<kCfg>(p, block.head);
  const float alibi = kIsClear && step.is_ahead ? -alibi_of_ahead : alibi_of_ahead;
  // A full block need not ask the program.
  constexpr bool kHidesClear = kCfg.has_mask || (kCfg.has_mask_program && !kCfg.has_block_mask);
  SeenKeys<kCfg> seen;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int query = first_row + t * 16 + r * 8;
      const bool is_row = !kCfg.reads_pairs() || query < block.head.sequence.q_len;
      const KeyLimits keys = is_row ? key_limits<kCfg>(p, block.head, query) : KeyLimits{0, 0};
      // Differences of columns are small: two operations of floats instead of an integer's way.
      const float distance = static_cast<float>(query + to_last - first_col);
      REGARD_UNROLL
      for (int n = 0; n < kCfg.block_k / 8; ++n) {
        const int first = first_col + n * 8;
        const bool is_inside[2] = {kIsClear || keys.contain(first),
                                   kIsClear || keys.contain(first + 1)};
        PairTerms terms[2];
        if constexpr (kCfg.loads_twos) {
          pair_terms_of_two<kCfg>(terms, p, block.head, query, first, is_inside[0] || is_inside[1]);
        }
        REGARD_UNROLL
        for (int i = 0; i < 2; ++i) {
          if constexpr (!kCfg.loads_twos) {
            terms[i] = pair_terms<kCfg>(p, block.head, query, first + i, is_inside[i]);
          }
          float& score = scores[t][n][2 * r + i];
          const float signed_distance = distance - static_cast<float>(n * 8 + i);
          const float magnitude =
              signed_distance < 0.0f && !kIsClear ? -signed_distance : signed_distance;
          const PairScore result = pair_score_with<kCfg, kIsSmall>(
              p, block.head, query, first + i, score, terms[i], alibi * magnitude, is_inside[i],
              kIsClear ? Listing::full : step.listing);
          score = result.log2;
          if (!kIsClear || kHidesClear) {
            seen.add(2 * n + i, result.is_seen);
          }
        }
      }
    }
  }
  if (kIsClear && !kHidesClear) {
    seen.add_all();
  }
  return seen;
}

// Whether a cap's tanh of every product of the warp takes the polynomial.
template <AttnConfig kCfg>
REGARD_DEVICE bool is_small(const ScoreTile<kCfg>& products, const AttnFwdParams& p) {
  float largest = 0.0f;
  REGARD_UNROLL
  for (int i = 0; i < kCfg.row_tiles() * kCfg.block_k / 2; ++i) {
    const float product = products[i / (kCfg.block_k / 2)][i / 4 % (kCfg.block_k / 8)][i % 4];
    largest = maximum(largest, product < 0.0f ? -product : product);
  }
  return !any_lane(largest > p.small_product);
}

template <AttnConfig kCfg>
REGARD_DEVICE SeenKeys<kCfg> finish_scores(ScoreTile<kCfg>& scores, const AttnFwdParams& p,
                                           const RowBlock& block, const WarpStep& step,
                                           int first_key) {
  if (!step.is_clear) {
    return finish_pairs<kCfg, false, false>(scores, p, block, first_key, step);
  }
  if constexpr (kCfg.has_softcap) {
    if (is_small<kCfg>(scores, p)) {
      return finish_pairs<kCfg, true, true>(scores, p, block, first_key, step);
    }
  }
  return finish_pairs<kCfg, true, false>(scores, p, block, first_key, step);
}

template <AttnConfig kCfg>
REGARD_DEVICE void write_rows(const AttnFwdParams& p, const RowBlock& block,
                              const RowState<kCfg>& rows, const OutputTile<kCfg>& out) {
  const Sequence& sequence = block.head.sequence;
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int query = block.first_query + first_row_of_warp<kCfg>() + t * 16 + lane / 4 + r * 8;
      const float sum = sum_of_quad(rows.sum[t][r]);
      const bool is_there = query < sequence.q_len;
      const FinishedRow end = finish_row<kCfg>(block.head, rows.max[t][r], sum);
      const float factor = end.factor * (kCfg.has_dropout ? p.dropout_scale : 1.0f);
      const long long row = sequence.q_begin + query;
      store_row<kCfg>(p.o.data + sequence.batch * p.o.stride_batch + row * p.o.stride_seq +
                          block.head.index * p.o.stride_head,
                      is_there, p.value_dim, out[t], 2 * r, factor);
      if (p.lse.data != nullptr && is_there && lane % 4 == 0) {
        store_global(p.lse.data + sequence.batch * p.lse.stride_batch +
                         block.head.index * p.lse.stride_head + row,
                     end.lse);
      }
    }
  }
}

// Rows of the block that belong to no document: O = 0, LSE = -infinity.
template <AttnConfig kCfg>
REGARD_DEVICE void clear_unowned_rows(const AttnFwdParams& p) {
  const int head = block_y();
  for (int i = thread_in_block(); i < kCfg.block_q; i += kCfg.num_threads()) {
    const int row = block_x() * kCfg.block_q + i;
    if (row >= p.q_len || is_owned(p.q_offsets, p.q_lengths, p.num_sequences, row)) {
      continue;
    }
    unsigned short* to = p.o.data + row * p.o.stride_seq + head * p.o.stride_head;
    for (int col = 0; col < p.value_dim; col += 2) {
      store_pair<kCfg>(to, col, p.value_dim, 0.0f, 0.0f);
    }
    if (p.lse.data != nullptr) {
      store_global(p.lse.data + head * p.lse.stride_head + row, -infinity());
    }
  }
}

// How S = Q K^T comes about, for attend(): here from Q and K as they are.
template <AttnConfig kCfg>
class ExactScores {
 public:
  static constexpr AttnConfig kValues = kCfg;  // of P V

  REGARD_DEVICE ExactScores(const AttnFwdParams& p, const RowBlock&)
      : factor_(kCfg.folds_scale ? p.score_factor : 1.0f) {}

  // Once, with kCfg.keeps_q, when Q is in shared memory.
  REGARD_DEVICE void keep_queries(const unsigned short* q_smem) {
    keep_query_fragments<kCfg>(queries_, q_smem);
  }
  // Before the step's K is awaited.
  REGARD_DEVICE void begin_step(int) {}
  // The products; with kCfg.folds_scale factor() times them is the score in units of log2.
  REGARD_DEVICE void multiply(ScoreTile<kCfg>& scores, const unsigned short* q_smem,
                              const unsigned short* k_smem) {
    multiply_q_k<kCfg>(scores, queries_, q_smem, k_smem);
  }
  REGARD_DEVICE float factor() const { return factor_; }
  // Weights, whose sum has been taken, as P V takes them.
  REGARD_DEVICE void round_weights(ScoreTile<kCfg>&) const {}
  // After the last step.
  REGARD_DEVICE void finish(RowState<kCfg>&, OutputTile<kCfg>&) const {}

 private:
  float factor_;
  QueryFragments<kCfg> queries_;
};

// The rows of a block: reads Q, K and V of `p` tile by tile, writes O and the LSE. `shared`:
// kCfg.smem_bytes() bytes, 16-byte aligned.
template <AttnConfig kCfg, class Scores>
REGARD_DEVICE void attend(const AttnFwdParams& p, const RowBlock& block, Scores& products,
                          unsigned short* shared) {
  static_assert(why_unsupported(kCfg) == nullptr);
  constexpr int kStages = kCfg.num_stages;
  static_assert(kStages <= 2);
  const Sequence& sequence = block.head.sequence;
  unsigned short* q_smem = shared;                                // [block_q, head_dim]
  unsigned short* k_smem = q_smem + kCfg.q_elements();            // [stages][block_k, head_dim]
  unsigned short* v_smem = k_smem + kStages * kCfg.k_elements();  // [stages][block_k, value_dim]
  const unsigned short* q_gmem = p.q.data + sequence.batch * p.q.stride_batch +
                                 (sequence.q_begin + block.first_query) * p.q.stride_seq +
                                 block.head.index * p.q.stride_head;
  const KeyTiles<kCfg> tiles(p, block.head, block.keys);
  ScoreTile<kCfg> scores;
  OutputTile<kCfg> out = {};
  RowState<kCfg> rows;
  rows.clear();
  const WarpRows own_rows = warp_rows<kCfg>(p, block, warp_in_block());
  KeySteps<kCfg> steps(p, block);
  KeyStep step = steps.first(p, block);
  if (step.key < block.keys.hi) {
    load_tile<kCfg, kCfg.block_q, kCfg.head_dim>(
        q_smem, q_gmem, p.q.stride_seq, {0, sequence.q_len - block.first_query}, p.head_dim);
    tiles.load_k(k_smem, step.key);
    if constexpr (kStages == 2) {
      tiles.load_v(v_smem, step.key);
    }
    close_copies<kCfg>();
    if constexpr (kCfg.keeps_q) {
      await_copies<kCfg, 0>();
      block_barrier();
      products.keep_queries(q_smem);
    }
  }
  int stage = 0;
  for (KeyStep next; step.key < block.keys.hi; step = next) {
    next = steps.after(p, block, step);
    products.begin_step(step.key);
    unsigned short* k_tile = k_smem + stage * kCfg.k_elements();
    unsigned short* v_tile = v_smem + stage * kCfg.v_elements();
    await_copies<kCfg, 0>();  // Q and K, with two stages V, are here
    block_barrier();          // for all warps, which have done the step before
    if constexpr (kStages == 1) {
      tiles.load_v(v_tile, step.key);
    } else {
      stage = 1 - stage;
      tiles.load_k(k_smem + stage * kCfg.k_elements(), next.key);
      tiles.load_v(v_smem + stage * kCfg.v_elements(), next.key);
    }
    close_copies<kCfg>();
    const WarpStep of_warp = warp_step<kCfg>(p, block, own_rows, step);
    if (of_warp.is_seen) {
      products.multiply(scores, q_smem, k_tile);  // line 8: S = Q K^T
    }
    if constexpr (kStages == 1) {
      await_copies<kCfg, 0>();  // V is here
      block_barrier();          // and all warps have read K
      tiles.load_k(k_tile, next.key);
      close_copies<kCfg>();
    }
    if (of_warp.is_seen) {
      const SeenKeys<kCfg> seen = finish_scores<kCfg>(scores, p, block, of_warp, step.key);
      // lines 9, 10: max, P, sum; rescale O
      update_softmax<kCfg>(rows, scores, out, products.factor());
      products.round_weights(scores);
      if constexpr (kCfg.has_dropout) {
        drop_weights<kCfg>(scores, p, block.head, block.first_query, step.key);
      }
      // line 10: O += P V
      multiply_p_v<Scores::kValues>(out, scores, v_tile, {seen.columns});
    }
  }
  products.finish(rows, out);
  write_rows<kCfg>(p, block, rows, out);  // lines 12, 13
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_fwd_mma(const AttnFwdParams& p, unsigned short* shared) {
  if (kCfg.has_lengths && block_z() == p.num_sequences) {
    return clear_unowned_rows<kCfg>(p);
  }
  const RowBlock block = row_block<kCfg>(p);
  if (block.first_query >= block.head.sequence.q_len) {
    return;  // the whole block: documents are shorter than the longest
  }
  ExactScores<kCfg> products(p, block);
  attend<kCfg>(p, block, products, shared);
}

}  // namespace regard::gpu
