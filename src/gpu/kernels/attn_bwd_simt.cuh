// attn_bwd_simt: the backward without the matrix unit, for f32 and for what attn_bwd_mma refuses.
// Two kernels of one text: attn_bwd_simt_dq owns queries, attn_bwd_simt_dkv owns keys.
// Math     P = exp2(score - row_lse), dP = dO V^T, dS = P (m dP - delta) * slope
// (pair/gradient.cuh);
//          dQ = scale dS K; dK = scale dS^T Q, dV = (m P)^T dO, summed over the heads of a group.
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv]  dO [B,Sq,Hq,Dv]; any strides, last = 1;
//          gradients of any format. row_lse and row_delta are attn_bwd_delta's.
// Tiling   grid = (ceil(Sq / block_q), Hq, B or documents), or (ceil(Sk / block_k), Hkv, ...). A
// block
//          owns rows of one side and walks over blocks of the other, and over the query heads that
//          share its keys. Lanes as in tile/simt.cuh.
// Memory   shared, all as f32: the two operands of the own side whole, two stages of 32 or 64
// columns
//          of the other side's, one tile for P or dS; S, dP and the sums in registers.
// Pipeline the next piece is copied while this one is multiplied; one barrier each. Pieces pass
//          twice: for S or dP, and for the sums.
// Numerics f32 throughout. No sum depends on the order of thread blocks: each gradient has one
// owner. Limits   D, Dv <= 512; everything else in why_unsupported_attn_bwd_simt(). Source   Dao
// 2023 (arXiv 2307.08691) algorithm 2, its two halves apart; own tiles.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/dropout.cuh"
#include "pair/gradient.cuh"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "simt_layout.h"
#include "tile/gradient.cuh"
#include "tile/simt.cuh"

namespace regard::gpu {

enum class Side : int { queries, keys };

template <AttnConfig kCfg, Side kSide>
struct SimtBackward {
  static constexpr bool kOwnsQueries = kSide == Side::queries;
  static constexpr SimtLayout kLayout =
      kOwnsQueries ? query_gradient_layout(kCfg) : key_gradient_layout(kCfg);
  static_assert(why_unsupported_simt(kCfg, kLayout) == nullptr);
  static constexpr int kOwn = kLayout.own_rows, kOther = kLayout.other_rows;
  static constexpr int kRows = kOwn / (4 * kCfg.num_warps);  // of a lane
  static constexpr int kCols = kOther / 8;
  static_assert(kRowGroup % kCfg.block_q == 0);
  static constexpr int kStride = kCfg.head_dim + kRowPadding;
  static constexpr int kValueStride = kCfg.value_dim + kRowPadding;
  static constexpr int kStageStride = kLayout.most_stage_columns + kRowPadding;
  static constexpr int kTileStride = kOther + kRowPadding;
  static constexpr int kColumns = stage_columns(kCfg.head_dim);
  static constexpr int kValueColumns = stage_columns(kCfg.value_dim);
  static constexpr int kPieces = kCfg.head_dim / kColumns;
  static constexpr int kValuePieces = kCfg.value_dim / kValueColumns;
  // Whether there are keys inside the limits that no query of the block sees.
  static constexpr bool kHidesPairs = kOwnsQueries && (kCfg.reads_pairs() || kCfg.has_mask_program);

  using Tile = float[kRows][kCols];
  using Sums = float[kPieces][kRows][kColumns / 8];
  using ValueSums = float[kOwnsQueries ? 1 : kValuePieces][kRows][kValueColumns / 8];

  // Rows of the other side: of one query head, or of the keys of the head.
  struct Block {
    int group_index;  // query head, counted in its group
    int first, end;   // the block's first row; where rows end that some own row meets
  };

  const AttnBwdParams& p;
  float *own_smem, *own_value_smem, *tile_smem;
  Stages stages;
  Sequence sequence;
  int kv_head, first_own;

  REGARD_DEVICE SimtBackward(const AttnBwdParams& params, float* shared) : p(params) {
    own_smem = shared;
    own_value_smem = own_smem + kOwn * kStride;
    stages.current = own_value_smem + kOwn * kValueStride;
    stages.next = stages.current + kLayout.stage_floats();
    tile_smem = stages.next + kLayout.stage_floats();
    sequence = sequence_at<kCfg>(p, block_z());
    kv_head = kOwnsQueries ? block_y() / p.heads_per_kv_head : block_y();
    // Queries last first, keys first first: under a causal mask these meet most.
    first_own = (kOwnsQueries ? num_blocks_x() - 1 - block_x() : block_x()) * kOwn;
  }

  REGARD_DEVICE int own_length() const { return kOwnsQueries ? sequence.q_len : sequence.k_len; }
  REGARD_DEVICE int num_heads() const { return kOwnsQueries ? 1 : p.heads_per_kv_head; }
  REGARD_DEVICE int head_index(int group_index) const {
    return kOwnsQueries ? block_y() : kv_head * p.heads_per_kv_head + group_index;
  }
  REGARD_DEVICE Head head_of(int group_index) const {
    return head_at<kCfg>(p, sequence, head_index(group_index));
  }

  // The first block of the first head from `group_index` on that has any; group_index = num_heads()
  // when none has.
  REGARD_DEVICE Block first_block(int group_index) const {
    for (; group_index < num_heads(); ++group_index) {
      const Head head = head_of(group_index);
      const int end_own = first_own + kOwn;
      const int last = (end_own < own_length() ? end_own : own_length()) - 1;
      int lo, end;
      if constexpr (kOwnsQueries) {
        lo = key_limits<kCfg>(p, head, first_own).lo;
        end = key_limits<kCfg>(p, head, last).hi;
      } else {
        lo = query_limits<kCfg>(p, head, first_own).lo;
        end = query_limits<kCfg>(p, head, last).hi;
      }
      const int first = lo / kOther * kOther;
      if (first < end && lo < end) {
        return {group_index, first, end};
      }
    }
    return {group_index, 0, 0};
  }
  REGARD_DEVICE Block next_block(const Block& block) const {
    if (block.first + kOther < block.end) {
      return {block.group_index, block.first + kOther, block.end};
    }
    return first_block(block.group_index + 1);
  }

  REGARD_DEVICE const unsigned short* query_row(const OperandView& view, int head,
                                                int query) const {
    return row_at<kCfg>(view, sequence.batch, sequence.q_begin + query, head);
  }

  REGARD_DEVICE void load_own() const {
    const int head = head_index(0);
    const auto load = [&](float* to, const OperandView& view, auto columns, int num_cols) {
      constexpr int kCount = decltype(columns)::kValue;
      const auto row_of = [&](int row) {
        const int own = first_own + row;
        return own >= own_length() ? nullptr
               : kOwnsQueries      ? query_row(view, head, own)
                                   : key_at<kCfg>(p, view, sequence, kv_head, own);
      };
      load_f32_rows<kCfg, OwnOrder<kRows>, kOwn, kCount, kCount + kRowPadding>(to, view.data,
                                                                               row_of, 0, num_cols);
    };
    load(own_smem, kOwnsQueries ? p.q : p.k, Columns<kCfg.head_dim>{}, p.head_dim);
    load(own_value_smem, kOwnsQueries ? p.d_o : p.v, Columns<kCfg.value_dim>{}, p.value_dim);
  }

  // Start filling the next stage: a piece of Q or K, of dO or V.
  template <int kCount>
  REGARD_DEVICE void request(const OperandView& view, const Block& block, int first_col,
                             int num_cols) const {
    const int head = head_index(block.group_index);
    const auto row_of = [&](int row) {
      const int other = block.first + row;
      return other >= block.end ? nullptr
             : kOwnsQueries     ? key_at<kCfg>(p, view, sequence, kv_head, other)
                                : query_row(view, head, other);
    };
    load_f32_rows<kCfg, OtherOrder, kOther, kCount, kStageStride>(stages.next, view.data, row_of,
                                                                  first_col, num_cols);
  }
  REGARD_DEVICE void request_rows(const Block& block, int piece) const {
    request<kColumns>(kOwnsQueries ? p.k : p.q, block, piece * kColumns, p.head_dim);
  }
  REGARD_DEVICE void request_values(const Block& block, int piece) const {
    request<kValueColumns>(kOwnsQueries ? p.v : p.d_o, block, piece * kValueColumns, p.value_dim);
  }

  // Whether every pair of the block exists and is within the limits.
  REGARD_DEVICE bool is_clear(const Head& head, const Block& block) const {
    const int last = first_own + kOwn - 1;
    if (kCfg.has_block_mask || last >= own_length()) {
      return false;
    }
    if constexpr (kOwnsQueries) {
      return block.first >= key_limits<kCfg>(p, head, last).lo &&
             block.first + kOther <= key_limits<kCfg>(p, head, first_own).hi;
    } else {
      return block.first >= query_limits<kCfg>(p, head, last).lo &&
             block.first + kOther <= query_limits<kCfg>(p, head, first_own).hi;
    }
  }

  REGARD_DEVICE bool is_pair(const Head& head, int query, int key) const {
    if constexpr (kOwnsQueries) {
      return query < sequence.q_len && key_limits<kCfg>(p, head, query).contain(key);
    } else {
      return key < sequence.k_len && query_limits<kCfg>(p, head, key).contain(query);
    }
  }

  REGARD_DEVICE RowTerms row_terms(long long workspace, int query) const {
    return {load_global(p.row_lse + workspace + query),
            load_global(p.row_delta + workspace + query)};
  }

  // Products q . k become weights, sums dO . v gradients of scores.
  template <bool kIsClear>
  REGARD_DEVICE void finish(const Head& head, const Block& block, Tile& scores,
                            Tile& d_weights) const {
    const long long workspace = workspace_row<kCfg>(p, sequence, head.index);
    const int own_row = first_own + first_own_row<kRows>();
    const int other_row = block.first + first_other_row();
    // Pairs whose keys are neighbours, the first one even, share a draw of dropout.
    constexpr int kKeys = kOwnsQueries || kRows > 1 ? 2 : 1;
    constexpr int kRowStep = kOwnsQueries ? 1 : kKeys, kColStep = kOwnsQueries ? kKeys : 1;
    RowTerms terms[kOwnsQueries ? kRows : kCols];
    REGARD_UNROLL
    for (int i = 0; i < (kOwnsQueries ? kRows : kCols); ++i) {
      // Own rows are a lane's only where they exist; the workspace is longer than its queries.
      terms[i] = row_terms(workspace, kOwnsQueries ? own_row + i : other_row + i / 4 * 32 + i % 4);
    }
    REGARD_UNROLL
    for (int i = 0; i < kRows; i += kRowStep) {
      REGARD_UNROLL
      for (int j = 0; j < kCols; j += kColStep) {
        const int own = own_row + i, other = other_row + j / 4 * 32 + j % 4;
        DropoutPair factors{{1.0f, 1.0f}};
        if constexpr (kCfg.has_dropout) {
          factors = dropout_pair(p, sequence.index, head.index, kOwnsQueries ? own : other,
                                 (kOwnsQueries ? other : own) & ~1);
        }
        REGARD_UNROLL
        for (int e = 0; e < kKeys; ++e) {
          const int row = i + (kOwnsQueries ? 0 : e), col = j + (kOwnsQueries ? e : 0);
          const int query = kOwnsQueries ? own : other, key = (kOwnsQueries ? other : own) + e;
          const bool is_inside = kIsClear || is_pair(head, query, key);
          const PairScore score = pair_score<kCfg>(p, head, query, key, scores[row][col], is_inside,
                                                   kIsClear ? Listing::full : Listing::mixed);
          const PairGradient gradient = pair_gradient<kCfg, true>(
              p, score, terms[kOwnsQueries ? row : col], d_weights[row][col],
              kKeys == 1 && key % 2 != 0 ? factors.factor[1] : factors.factor[e]);
          scores[row][col] = gradient.weight;
          d_weights[row][col] = gradient.score;
        }
      }
    }
  }

  // dP's sums may begin with the rows' deltas.
  REGARD_DEVICE void begin_d_weights(const Block& block, Tile& d_weights) const {
    const long long workspace = workspace_row<kCfg>(p, sequence, head_index(block.group_index));
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int query = kOwnsQueries ? first_own + first_own_row<kRows>() + i
                                       : block.first + first_other_row() + j / 4 * 32 + j % 4;
        d_weights[i][j] = kCfg.has_dropout
                              ? 0.0f
                              : first_d_weight<kCfg>(load_global(p.row_delta + workspace + query));
      }
    }
  }

  // Keys that no query of the block sees become zero: dS is, and a NaN times zero is NaN.
  REGARD_DEVICE void clear_unseen_rows() const {
    for (int row = thread_in_block(); row < kOther; row += kCfg.num_threads()) {
      bool is_seen = false;
      for (int own = 0; own < kOwn; ++own) {
        is_seen = is_seen || load_shared(tile_smem + own * kTileStride + row) != 0.0f;
      }
      float* const values = stages.current + OtherOrder::place(row) * kStageStride;
      for (int col = 0; !is_seen && col < kColumns; col += 4) {
        store_shared4(values + col, Float4{});
      }
    }
    block_barrier();
  }

  // A gradient of the own rows, kCount columns at a time.
  template <int kCount, int kNumPieces>
  REGARD_DEVICE void write(const GradientView& view,
                           const float (&sums)[kNumPieces][kRows][kCount / 8], int num_cols,
                           float factor) const {
    with_store(view, num_cols, [&](const auto& store) {
      REGARD_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const int own = first_own + first_own_row<kRows>() + i;
        if (own >= own_length()) {
          continue;
        }
        const long long row =
            (kOwnsQueries ? sequence.q_begin : sequence.k_begin) + static_cast<long long>(own);
        const GradientRow to =
            gradient_row(view, sequence.batch, row, kOwnsQueries ? block_y() : kv_head);
        REGARD_UNROLL
        for (int c = 0; c < kNumPieces; ++c) {
          REGARD_UNROLL
          for (int n = 0; n < kCount / 8; n += 2) {
            store(to, c * kCount + n / 4 * 32 + lane_col() * 4 + n % 4, num_cols,
                  sums[c][i][n] * factor, sums[c][i][n + 1] * factor);
          }
        }
      }
    });
  }

  REGARD_DEVICE void run() {
    const float* const own_rows = own_smem + OwnOrder<kRows>::first_place() * kStride;
    const float* const own_values = own_value_smem + OwnOrder<kRows>::first_place() * kValueStride;
    float* const tile_rows = tile_smem + OwnOrder<kRows>::first_place() * kTileStride;
    Sums sums = {};
    ValueSums value_sums = {};
    Block block = first_block(0);
    if (block.group_index < num_heads()) {
      load_own();
      request_rows(block, 0);
    }
    while (block.group_index < num_heads()) {
      Tile scores = {}, d_weights;
      for (int c = 0; c < kPieces; ++c) {  // S = Q K^T, or its transpose
        stages.advance<kCfg>();
        if (c + 1 < kPieces) {
          request_rows(block, c + 1);
        } else {
          request_values(block, 0);
        }
        add_dot_products<kRows, kCols, kColumns, kStride, kStageStride>(
            scores, own_rows + c * kColumns, stages.current);
      }
      begin_d_weights(block, d_weights);
      for (int c = 0; c < kValuePieces; ++c) {  // dP = dO V^T, or its transpose
        stages.advance<kCfg>();
        if (c + 1 < kValuePieces) {
          request_values(block, c + 1);
        } else if (kOwnsQueries) {
          request_rows(block, 0);
        } else {
          request_values(block, 0);
        }
        add_dot_products<kRows, kCols, kValueColumns, kValueStride, kStageStride>(
            d_weights, own_values + c * kValueColumns, stages.current);
      }
      const Head head = head_of(block.group_index);
      if (is_clear(head, block)) {
        finish<true>(head, block, scores, d_weights);
      } else {
        finish<false>(head, block, scores, d_weights);
      }
      if constexpr (!kOwnsQueries) {
        store_tile<kRows, kCols, kTileStride>(tile_rows, scores);
        REGARD_UNROLL
        for (int c = 0; c < kValuePieces; ++c) {  // dV += (m P)^T dO
          stages.advance<kCfg>();                 // the tile is here too
          if (c + 1 < kValuePieces) {
            request_values(block, c + 1);
          } else {
            request_rows(block, 0);
          }
          add_weighted_rows<kRows, kValueColumns, kOther, kTileStride, kStageStride>(
              value_sums[c], tile_rows, stages.current);
        }
        warp_pair_barrier();  // rows of the tile are read by the lanes of their warp alone
      }
      store_tile<kRows, kCols, kTileStride>(tile_rows, d_weights);
      const Block next = next_block(block);
      REGARD_UNROLL
      for (int c = 0; c < kPieces; ++c) {  // dQ += dS K, dK += dS^T Q
        stages.advance<kCfg>();
        if (c + 1 < kPieces) {
          request_rows(block, c + 1);
        } else if (next.group_index < num_heads()) {
          request_rows(next, 0);
        }
        if constexpr (kHidesPairs) {
          clear_unseen_rows();
        }
        add_weighted_rows<kRows, kColumns, kOther, kTileStride, kStageStride>(sums[c], tile_rows,
                                                                              stages.current);
      }
      block = next;
    }
    write<kColumns, kPieces>(kOwnsQueries ? p.dq : p.dk, sums, p.head_dim, p.scale);
    if constexpr (!kOwnsQueries) {
      write<kValueColumns, kValuePieces>(p.dv, value_sums, p.value_dim, 1.0f);
    }
  }
};

}  // namespace regard::gpu
