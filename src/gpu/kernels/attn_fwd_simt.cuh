// attn_fwd_simt: exact attention forward without the matrix unit, for f32 and for what attn_fwd_mma
// refuses.
// Math     O = softmax(scores of pair/score.cuh) V; LSE = natural logarithm of the sum of
//          exponentials of each row (for the backward).
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv]  O [B,Sq,Hq,Dv]  LSE [B,Hq,Sq] f32; any
//          strides, last = 1. Packed rows: B = 1, documents through offsets on the device. Pages.
// Tiling   grid = (ceil(Sq / block_q), Hq, B or documents, and one more for queries of no
// document),
//          last queries first: under a causal mask they have most keys. A block owns block_q rows
//          and loops over block_k keys; a warp owns block_q / num_warps rows, 8 lanes share each of
//          them; a lane multiplies a tile of block_q / (4 num_warps) rows by block_k / 8 keys.
// Memory   shared, all as f32: Q whole, two stages of block_k x (32 or 64) of K or V, the weights
//          (forward_layout); scores and O in registers.
// Pipeline the next piece of K or V is copied while this one is multiplied; one barrier each.
// Numerics f32 operands, products and sums; exp2 with log2(e) folded into the scale; a row that
//          sees no key gives O = 0, LSE = -inf.
// Limits   D, Dv <= 512; everything else in why_unsupported_attn_fwd_simt().
// Source   Dao 2023 (arXiv 2307.08691) algorithm 1; own tiles.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/dropout.cuh"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "simt_layout.h"
#include "tile/finish.cuh"
#include "tile/simt.cuh"

namespace regard::gpu {

template <AttnConfig kCfg>
struct SimtForward {
  static constexpr SimtLayout kLayout = forward_layout(kCfg);
  static_assert(why_unsupported_simt(kCfg, kLayout) == nullptr);
  static constexpr int kRows = kCfg.block_q / (4 * kCfg.num_warps);  // of a lane
  static constexpr int kCols = kCfg.block_k / 8;
  static constexpr int kQStride = kCfg.head_dim + kRowPadding;
  static constexpr int kStageStride = kLayout.most_stage_columns + kRowPadding;
  static constexpr int kTileStride = kCfg.block_k + kRowPadding;
  static constexpr int kColumns = stage_columns(kCfg.head_dim);
  static constexpr int kValueColumns = stage_columns(kCfg.value_dim);
  static constexpr int kPieces = kCfg.head_dim / kColumns;  // of a row of K
  static constexpr int kValuePieces = kCfg.value_dim / kValueColumns;
  // Whether there are keys inside the limits that no query of the block sees.
  static constexpr bool kHidesPairs = kCfg.reads_pairs() || kCfg.has_mask_program;

  using Scores = float[kRows][kCols];
  using Output = float[kValuePieces][kRows][kValueColumns / 8];

  const AttnFwdParams& p;
  float *q_smem, *weights_smem;
  Stages stages;
  Head head;
  int first_query;
  KeyLimits keys;                // that some query of the block sees
  float max[kRows], sum[kRows];  // sum: of this lane's weights
  Output out;

  REGARD_DEVICE SimtForward(const AttnFwdParams& params, float* shared) : p(params) {
    q_smem = shared;
    stages.current = q_smem + kLayout.own_rows * kLayout.own_columns;
    stages.next = stages.current + kLayout.stage_floats();
    weights_smem = stages.next + kLayout.stage_floats();
    head = head_at<kCfg>(p, sequence_at<kCfg>(p, block_z()), block_y());
    first_query = (num_blocks_x() - 1 - block_x()) * kCfg.block_q;
    const int end = first_query + kCfg.block_q;
    const int last = (end < head.sequence.q_len ? end : head.sequence.q_len) - 1;
    keys = {key_limits<kCfg>(p, head, first_query).lo, key_limits<kCfg>(p, head, last).hi};
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      max[i] = -infinity();
      sum[i] = 0.0f;
      REGARD_UNROLL
      for (int c = 0; c < kValuePieces; ++c) {
        REGARD_UNROLL
        for (int n = 0; n < kValueColumns / 8; ++n) {
          out[c][i][n] = 0.0f;
        }
      }
    }
  }

  REGARD_DEVICE void load_queries() const {
    const Sequence& sequence = head.sequence;
    const auto row_of = [&](int row) -> const unsigned short* {
      const int query = first_query + row;
      return query < sequence.q_len
                 ? row_at<kCfg>(p.q, sequence.batch, sequence.q_begin + query, head.index)
                 : nullptr;
    };
    load_f32_rows<kCfg, OwnOrder<kRows>, kCfg.block_q, kCfg.head_dim, kQStride>(
        q_smem, p.q.data, row_of, 0, p.head_dim);
  }

  // Starts filling the next stage.
  template <int kCount>
  REGARD_DEVICE void request(const OperandView& view, int first_key, int first_col,
                             int num_cols) const {
    const auto row_of = [&](int row) {
      const int key = first_key + row;
      return keys.contain(key) ? key_at<kCfg>(p, view, head.sequence, head.kv_index, key) : nullptr;
    };
    load_f32_rows<kCfg, OtherOrder, kCfg.block_k, kCount, kStageStride>(
        stages.next, view.data, row_of, first_col, num_cols);
  }
  REGARD_DEVICE void request_keys(int first_key, int piece) const {
    request<kColumns>(p.k, first_key, piece * kColumns, p.head_dim);
  }
  REGARD_DEVICE void request_values(int first_key, int piece) const {
    request<kValueColumns>(p.v, first_key, piece * kValueColumns, p.value_dim);
  }

  // Products to scores of keys first_key .. first_key + block_k; what a row does not see:
  // -infinity. kIsClear: every row sees every key as far as the limits go.
  template <bool kIsClear>
  REGARD_DEVICE void finish_scores(Scores& scores, int first_key) const {
    const int first_col = first_key + first_other_row();
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int query = first_query + first_own_row<kRows>() + i;
      const bool is_row = query < head.sequence.q_len;
      const KeyLimits own = is_row ? key_limits<kCfg>(p, head, query) : KeyLimits{0, 0};
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int key = first_col + j / 4 * 32 + j % 4;
        scores[i][j] =
            pair_score<kCfg>(p, head, query, key, scores[i][j], kIsClear || own.contain(key),
                             kIsClear ? Listing::full : Listing::mixed)
                .log2;
      }
    }
  }

  REGARD_DEVICE bool is_clear(int first_key) const {
    const int last = first_query + kCfg.block_q - 1;
    return !kCfg.has_block_mask && last < head.sequence.q_len &&
           first_key >= key_limits<kCfg>(p, head, last).lo &&
           first_key + kCfg.block_k <= key_limits<kCfg>(p, head, first_query).hi;
  }

  // Scores become weights; sums and outputs so far are scaled to the new maximum.
  REGARD_DEVICE void update_softmax(Scores& scores) {
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      float largest = max[i];
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        largest = maximum(largest, scores[i][j]);
      }
      largest = max_of_row(largest);
      // A row that has seen nothing yet: 2^(-inf - 0) = 0, where -inf - -inf would be NaN.
      const float shift = largest == -infinity() ? 0.0f : largest;
      const float rescale = exp2_fast(max[i] - shift);
      max[i] = largest;
      sum[i] *= rescale;
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        scores[i][j] = exp2_fast(scores[i][j] - shift);
        sum[i] += scores[i][j];
      }
      REGARD_UNROLL
      for (int c = 0; c < kValuePieces; ++c) {
        REGARD_UNROLL
        for (int n = 0; n < kValueColumns / 8; ++n) {
          out[c][i][n] *= rescale;
        }
      }
    }
  }

  REGARD_DEVICE void drop(Scores& weights, int first_key) const {
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      REGARD_UNROLL
      for (int j = 0; j < kCols; j += 2) {
        const DropoutPair factors = dropout_pair(
            p, head.sequence.index, head.index, first_query + first_own_row<kRows>() + i,
            first_key + first_other_row() + j / 4 * 32 + j % 4);
        weights[i][j] *= factors.factor[0];
        weights[i][j + 1] *= factors.factor[1];
      }
    }
  }

  // Values of keys that no query of the block sees become zero: their weight is, and a NaN times
  // zero is NaN. Where pairs are hidden by position alone load_f32_rows has seen to that.
  REGARD_DEVICE void clear_unseen_values() const {
    for (int key = thread_in_block(); key < kCfg.block_k; key += kCfg.num_threads()) {
      float seen = 0.0f;
      for (int row = 0; row < kCfg.block_q; ++row) {
        seen = maximum(seen, load_shared(weights_smem + row * kTileStride + key));
      }
      float* const values = stages.current + OtherOrder::place(key) * kStageStride;
      for (int col = 0; seen == 0.0f && col < kValueColumns; col += 4) {
        store_shared4(values + col, Float4{});
      }
    }
    block_barrier();
  }

  REGARD_DEVICE void write_rows() const {
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int query = first_query + first_own_row<kRows>() + i;
      const FinishedRow end = finish_row<kCfg>(head, max[i], sum_of_row(sum[i]));
      if (query >= head.sequence.q_len) {
        continue;
      }
      const Sequence& sequence = head.sequence;
      const long long row = sequence.q_begin + query;
      const long long element =
          sequence.batch * p.o.stride_batch + row * p.o.stride_seq + head.index * p.o.stride_head;
      REGARD_UNROLL
      for (int c = 0; c < kValuePieces; ++c) {
        REGARD_UNROLL
        for (int n = 0; n < kValueColumns / 8; n += 4) {
          const int col = c * kValueColumns + n * 8 + lane_col() * 4;
          const float* values = &out[c][i][n];
          store_four<kCfg>(p.o.data, kCfg.element, element + col, p.value_dim - col,
                           {{values[0] * end.factor, values[1] * end.factor, values[2] * end.factor,
                             values[3] * end.factor}});
        }
      }
      if (p.lse.data != nullptr && lane_col() == 0) {
        store_global(
            p.lse.data + sequence.batch * p.lse.stride_batch + head.index * p.lse.stride_head + row,
            end.lse);
      }
    }
  }

  REGARD_DEVICE void run() {
    const int first = keys.lo / kCfg.block_k * kCfg.block_k;
    const float* const q_rows = q_smem + OwnOrder<kRows>::first_place() * kQStride;
    float* const weight_rows = weights_smem + OwnOrder<kRows>::first_place() * kTileStride;
    if (first < keys.hi) {
      load_queries();
      request_keys(first, 0);
    }
    for (int key = first; key < keys.hi; key += kCfg.block_k) {
      Scores scores = {};
      for (int c = 0; c < kPieces; ++c) {  // line 8: S = Q K^T
        stages.advance<kCfg>();
        if (c + 1 < kPieces) {
          request_keys(key, c + 1);
        } else {
          request_values(key, 0);
        }
        add_dot_products<kRows, kCols, kColumns, kQStride, kStageStride>(
            scores, q_rows + c * kColumns, stages.current);
      }
      if (is_clear(key)) {
        finish_scores<true>(scores, key);
      } else {
        finish_scores<false>(scores, key);
      }
      update_softmax(scores);  // lines 9, 10: max, P, sum; rescale O
      if constexpr (kCfg.has_dropout) {
        drop(scores, key);
      }
      store_tile<kRows, kCols, kTileStride>(weight_rows, scores);
      REGARD_UNROLL
      for (int c = 0; c < kValuePieces; ++c) {  // line 10: O += P V
        stages.advance<kCfg>();                 // the weights are here too
        if (c + 1 < kValuePieces) {
          request_values(key, c + 1);
        } else if (key + kCfg.block_k < keys.hi) {
          request_keys(key + kCfg.block_k, 0);
        }
        if constexpr (kHidesPairs) {
          clear_unseen_values();
        }
        add_weighted_rows<kRows, kValueColumns, kCfg.block_k, kTileStride, kStageStride>(
            out[c], weight_rows, stages.current);
      }
    }
    write_rows();  // lines 12, 13
  }
};

// Queries of no document, of block_q rows of the whole batch row.
template <AttnConfig kCfg>
REGARD_DEVICE void clear_rows_of_no_document(const AttnFwdParams& p) {
  for (int i = thread_in_block() / 32; i < kCfg.block_q; i += kCfg.num_warps) {
    const int row = block_x() * kCfg.block_q + i;
    if (row >= p.q_len || is_owned(p.q_offsets, p.q_lengths, p.num_sequences, row)) {
      continue;
    }
    const long long element = row * p.o.stride_seq + block_y() * p.o.stride_head;
    for (int col = thread_in_block() % 32 * 4; col < p.value_dim; col += 128) {
      store_four<kCfg>(p.o.data, kCfg.element, element + col, p.value_dim - col, Float4{});
    }
    if (p.lse.data != nullptr && thread_in_block() % 32 == 0) {
      store_global(p.lse.data + block_y() * p.lse.stride_head + row, -infinity());
    }
  }
}

// `shared`: forward_layout(kCfg).smem_bytes() bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_fwd_simt(const AttnFwdParams& p, unsigned short* shared) {
  if constexpr (kCfg.has_lengths) {
    if (block_z() == p.num_sequences) {
      clear_rows_of_no_document<kCfg>(p);
      return;
    }
  }
  SimtForward<kCfg> block(p, reinterpret_cast<float*>(shared));
  if (block.first_query < block.head.sequence.q_len) {  // documents are shorter than the longest
    block.run();
  }
}

}  // namespace regard::gpu
