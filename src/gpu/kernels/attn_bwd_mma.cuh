// attn_bwd_mma: dK and dV of attention on the matrix units of Turing and later, and dQ on the way.
// Math     P = exp2(score - LSE), dP = dO V^T, dS = P (dP - delta); dV = P^T dO, dK = scale dS^T Q,
//          dQ = scale dS K; softcap, ALiBi, limits and dropout as in pair/.
// Shapes   those of AttnBwdParams; heads of a group are added up here, in order.
// Tiling   grid = (ceil(Sk / block_k), Hkv, B or documents): a block owns block_k keys and walks
// the
//          queries that see them, block_q a step, for every head of the group. Scores are kept as
//          [key][query]: a warp owns 16 key_tiles keys, and P^T and dS^T are the left operands of
//          dV and dK as they lie in its registers. Only dS goes through shared memory, for dQ.
// Memory   shared: K, V, stages of (Q, dO, LSE, delta), dS (BwdLayout); dK, dV, one slice of S and
//          dP in registers. Beyond 64 columns two warps have the same keys: each computes the
//          scores of half of the queries and adds up half of the columns; they exchange P and dS,
//          which halves what each key's fragments cost.
// Pipeline with two stages the next step's Q and dO are under way during a whole step, and dQ of
// the
//          last step is added up in between: one barrier a step. With one stage dQ hides the
//          copies.
// dQ       other blocks add to it too: f32 additions in memory, in any order. is_deterministic
//          leaves dQ to attn_bwd_dq_mma; nothing here then depends on the order of blocks.
// Numerics f32 sums; P and dS rounded to the operands' format for the products.
// Limits   D, Dv <= 256, f16 and bf16 (Turing f16); everything else in why_unsupported_bwd().
// Source   Dao 2023 (arXiv 2307.08691) algorithm 2; transposed scores as in FlashAttention-3.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/gradient.cuh"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"
#include "tile/gradient.cuh"
#include "tile/key_scores.cuh"
#include "tile/order.cuh"
#include "tile/products.cuh"

namespace regard::gpu {

// The keys of one thread block.
struct KeyBlock {
  Sequence sequence;
  int kv_head, first_key;
  int first_head, end_head;  // of the group
  KeyLimits keys;            // of the sequence that some query of some head sees
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyBlock key_block(const AttnBwdParams& p) {
  KeyBlock block;
  const BlockPlace place = block_place((p.k_len + kCfg.block_k - 1) / kCfg.block_k,
                                       p.num_heads / p.heads_per_kv_head, p.kv_heads_per_section);
  block.sequence = sequence_at<kCfg>(p, block_z());
  block.kv_head = place.head;
  block.first_key = place.block * kCfg.block_k;
  block.first_head = block.kv_head * p.heads_per_kv_head;
  block.end_head = block.first_head + p.heads_per_kv_head;
  const int last = block.sequence.q_len - 1;
  const Head first = head_at<kCfg>(p, block.sequence, block.first_head);
  block.keys = {key_limits<kCfg>(p, first, 0).lo, key_limits<kCfg>(p, first, last).hi};
  if constexpr (kCfg.has_chunks) {  // heads differ
    for (int i = block.first_head + 1; i < block.end_head; ++i) {
      const Head head = head_at<kCfg>(p, block.sequence, i);
      const int lo = key_limits<kCfg>(p, head, 0).lo, hi = key_limits<kCfg>(p, head, last).hi;
      block.keys = {lo < block.keys.lo ? lo : block.keys.lo,
                    hi > block.keys.hi ? hi : block.keys.hi};
    }
  }
  return block;
}

// Queries that see some key of the block.
template <AttnConfig kCfg>
REGARD_DEVICE QueryLimits queries_of_block(const AttnBwdParams& p, const KeyBlock& block,
                                           int head_index) {
  const Head head = head_at<kCfg>(p, block.sequence, head_index);
  const int end = block.first_key + kCfg.block_k;
  const int last = (end < block.sequence.k_len ? end : block.sequence.k_len) - 1;
  return {query_limits<kCfg>(p, head, block.first_key).lo / kCfg.block_q * kCfg.block_q,
          query_limits<kCfg>(p, head, last).hi};
}

// One pass over queries of one head; the last one ends at end_query.
struct Step {
  int head, query, end_query;
};

// The first step of head `head` or of the next one that has any.
template <AttnConfig kCfg>
REGARD_DEVICE Step first_step(const AttnBwdParams& p, const KeyBlock& block, int head) {
  for (; head < block.end_head; ++head) {
    const QueryLimits queries = queries_of_block<kCfg>(p, block, head);
    if (queries.lo < queries.hi) {
      return {head, queries.lo, queries.hi};
    }
  }
  return {block.end_head, 0, 0};
}

template <AttnConfig kCfg>
REGARD_DEVICE Step next_step(const AttnBwdParams& p, const KeyBlock& block, const Step& step) {
  const int query = step.query + kCfg.block_q;
  return query < step.end_query ? Step{step.head, query, step.end_query}
                                : first_step<kCfg>(p, block, step.head + 1);
}

template <AttnConfig kCfg>
REGARD_DEVICE void request_step(const AttnBwdParams& p, const KeyBlock& block, const Step& step,
                                unsigned short* stage) {
  constexpr BwdLayout kLayout = bwd_layout(kCfg);
  const Sequence& sequence = block.sequence;
  const long long row = sequence.q_begin + step.query;
  const RowRange rows{0, sequence.q_len - step.query};
  load_tile<kCfg, kCfg.block_q, kCfg.head_dim>(stage,
                                               p.q.data + sequence.batch * p.q.stride_batch +
                                                   row * p.q.stride_seq +
                                                   step.head * p.q.stride_head,
                                               p.q.stride_seq, rows, p.head_dim);
  load_tile<kCfg, kCfg.block_q, kCfg.value_dim>(stage + kLayout.d_o,
                                                p.d_o.data + sequence.batch * p.d_o.stride_batch +
                                                    row * p.d_o.stride_seq +
                                                    step.head * p.d_o.stride_head,
                                                p.d_o.stride_seq, rows, p.value_dim);
  const long long workspace = workspace_row<kCfg>(p, sequence, step.head) + step.query;
  load_floats<kCfg, kCfg.block_q>(stage + kLayout.lse, p.row_lse + workspace);
  load_floats<kCfg, kCfg.block_q>(stage + kLayout.delta, p.row_delta + workspace);
  close_copies<kCfg>();
}

template <AttnConfig kCfg>
REGARD_DEVICE void load_block(const AttnBwdParams& p, const KeyBlock& block,
                              unsigned short* shared) {
  const Sequence& sequence = block.sequence;
  const long long row = sequence.k_begin + block.first_key;
  const RowRange rows{block.keys.lo - block.first_key, block.keys.hi - block.first_key};
  load_tile<kCfg, kCfg.block_k, kCfg.head_dim>(shared,
                                               p.k.data + sequence.batch * p.k.stride_batch +
                                                   row * p.k.stride_seq +
                                                   block.kv_head * p.k.stride_head,
                                               p.k.stride_seq, rows, p.head_dim);
  load_tile<kCfg, kCfg.block_k, kCfg.value_dim>(shared + bwd_layout(kCfg).v,
                                                p.v.data + sequence.batch * p.v.stride_batch +
                                                    row * p.v.stride_seq +
                                                    block.kv_head * p.v.stride_head,
                                                p.v.stride_seq, rows, p.value_dim);
}

// Where dQ's sums of a step lie.
template <AttnConfig kCfg>
REGARD_DEVICE float* dq_of_step(const AttnBwdParams& p, const KeyBlock& block, const Step& step) {
  return p.dq_sum +
         (workspace_row<kCfg>(p, block.sequence, step.head) + step.query) * kCfg.head_dim;
}

// dQ / scale of a step += dS K, over dS^T [block_k, block_q] and K in shared memory.
template <AttnConfig kCfg>
REGARD_DEVICE void add_dq(float* dq, const unsigned short* k_smem, const unsigned short* ds) {
  constexpr DqWarps kWarps = dq_warps(kCfg);
  constexpr int kTiles = kCfg.block_q / (16 * kWarps.rows), kCols = kCfg.head_dim / kWarps.cols;
  constexpr int kPassCols = kTiles * kCols > 128 && kCols % 32 == 0 ? kCols / 2 : kCols;
  const int warp = thread_in_block() / 32, lane = thread_in_block() % 32;
  if (warp >= kWarps.rows * kWarps.cols) {
    return;
  }
  dq += warp * kTiles * 16 * kCols + lane * 4;
  REGARD_UNROLL
  for (int first = 0; first < kCols; first += kPassCols) {
    Sums<kTiles, kPassCols> sums;
    clear<kTiles, kPassCols>(sums);
    multiply_columns<kCfg, kTiles, kPassCols, kCfg.block_k>(
        sums, ds + warp / kWarps.cols * kTiles * 16, bwd_layout(kCfg).pair_stride,
        k_smem + warp % kWarps.cols * kCols + first, kCfg.k_stride());
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      REGARD_UNROLL
      for (int n = 0; n < kPassCols / 8; ++n) {
        add_global(dq + (t * (kCols / 8) + first / 8 + n) * 128, sums[t][n]);
      }
    }
  }
}

template <AttnConfig kCfg, int kTiles, int kCols>
REGARD_DEVICE void write_key_rows(const GradientView& view, const KeyBlock& block, int first_row,
                                  int first_col, int num_cols, const Sums<kTiles, kCols>& sums,
                                  float factor) {
  const Sequence& sequence = block.sequence;
  const int lane = thread_in_block() % 32;
  with_store(view, num_cols, [&](const auto& store) {
    REGARD_UNROLL
    for (int i = 0; i < 2 * kTiles; ++i) {
      const int key = block.first_key + first_row + i * 8 + lane / 4;
      if (key < sequence.k_len) {
        const GradientRow row =
            gradient_row(view, sequence.batch, sequence.k_begin + key, block.kv_head);
        REGARD_UNROLL
        for (int n = 0; n < kCols / 8; ++n) {
          const float* pair = &sums[i / 2][n][i % 2 * 2];
          store(row, first_col + n * 8 + lane % 4 * 2, num_cols, pair[0] * factor,
                pair[1] * factor);
        }
      }
    }
  });
}

// `shared`: bwd_layout(kCfg).num_bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_mma(const AttnBwdParams& p, unsigned short* shared) {
  static_assert(why_unsupported_bwd(kCfg) == nullptr);
  constexpr BwdLayout kLayout = bwd_layout(kCfg);
  constexpr int kTiles = key_tiles(kCfg), kParts = kCfg.column_parts;
  using S = KeySums<kCfg>;
  const KeyBlock block = key_block<kCfg>(p);
  if (block.first_key >= block.sequence.k_len) {
    return;  // documents are shorter than the longest
  }
  const int warp = thread_in_block() / 32, part = warp % kParts;
  const int first_row = warp / kParts * kTiles * 16;
  S sums;
  clear<kTiles, S::kKeyCols>(sums.dk);
  clear<kTiles, S::kValueCols>(sums.dv);
  const auto stage_at = [&](int stage) {
    return shared + kLayout.stage + stage * kLayout.stage_elements;
  };
  const auto ds_at = [&](int stage) { return shared + kLayout.ds + stage * kLayout.ds_elements; };
  Step step = first_step<kCfg>(p, block, block.first_head);
  if (step.head < block.end_head) {
    load_block<kCfg>(p, block, shared);
    request_step<kCfg>(p, block, step, stage_at(0));
  }
  float* last_dq = nullptr;  // of the last step, still to be added to
  int stage = 0;
  for (; step.head < block.end_head; step = next_step<kCfg>(p, block, step)) {
    const auto request_next = [&](unsigned short* to) {
      const Step next = next_step<kCfg>(p, block, step);
      if (next.head < block.end_head) {
        request_step<kCfg>(p, block, next, to);
      }
    };
    unsigned short* const rows = stage_at(stage);
    const PairTiles tiles{shared + kLayout.weights, ds_at(stage)};
    await_copies<kCfg, 0>();
    block_barrier();  // this step's rows are here; all warps are done with the last step's
    if constexpr (kCfg.num_stages == 2) {
      stage ^= 1;
      request_next(stage_at(stage));
      if constexpr (!kCfg.is_deterministic) {
        if (last_dq != nullptr) {
          add_dq<kCfg>(last_dq, shared, ds_at(stage));
        }
        last_dq = dq_of_step<kCfg>(p, block, step);
      }
    }
    const Head head = head_at<kCfg>(p, block.sequence, step.head);
    REGARD_UNROLL_1  // two slices at a time would only hold more registers
        for (int slice = part * kCfg.slice_q; slice < kCfg.block_q;
             slice += kParts * kCfg.slice_q) {
      add_slice<kCfg>(sums, p, head, {block.first_key, step.query, first_row, slice, part}, shared,
                      rows, tiles);
    }
    if constexpr (kCfg.num_stages == 1) {
      block_barrier();  // all warps have read the rows, dS is whole
      request_next(rows);
      if constexpr (!kCfg.is_deterministic) {
        add_dq<kCfg>(dq_of_step<kCfg>(p, block, step), shared, tiles.ds);
      }
    }
  }
  if (last_dq != nullptr) {
    block_barrier();
    add_dq<kCfg>(last_dq, shared, ds_at(stage ^ 1));
  }
  write_key_rows<kCfg, kTiles, S::kKeyCols>(p.dk, block, first_row, part * S::kKeyCols, p.head_dim,
                                            sums.dk, p.scale);
  write_key_rows<kCfg, kTiles, S::kValueCols>(p.dv, block, first_row, part * S::kValueCols,
                                              p.value_dim, sums.dv, 1.0f);
}

}  // namespace regard::gpu
