// attn_bwd_dq_mma: dQ of attention on the matrix units, the same bits at every run.
// Math     dQ = scale dS K, dS = P (dP - delta) recomputed as in attn_bwd_mma.
// Shapes   those of AttnBwdParams.
// Tiling   grid = (ceil(Sq / block_q) * Hq, 1, B or documents), in the order of tile/order.cuh,
// last
//          queries first. A block owns block_q queries and loops over the keys they see, in order;
//          a warp owns 16 * row_tiles queries. dS is the left operand of dQ as it lies in the
//          registers.
// Memory   shared: Q, dO, stages of (K, V) (dq_smem_bytes); S, dP and dQ in registers.
// Pipeline with two stages the next keys are under way during a whole step.
// Numerics f32 sums; dS rounded to the operands' format.
// Limits   as attn_bwd_mma.
// Source   Dao 2023 (arXiv 2307.08691) algorithm 2, loops exchanged.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/gradient.cuh"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"
#include "tile/dropout.cuh"
#include "tile/gradient.cuh"
#include "tile/order.cuh"
#include "tile/products.cuh"

namespace regard::gpu {

struct DqBlock {
  Head head;
  int first_query;
  KeyLimits keys;  // that some query of the block sees
};

template <AttnConfig kCfg>
REGARD_DEVICE DqBlock dq_block(const AttnBwdParams& p) {
  DqBlock block;
  const int num_blocks = (p.q_len + kCfg.block_q - 1) / kCfg.block_q;
  const BlockPlace place = block_place(num_blocks, p.num_heads, p.heads_per_section);
  block.head = head_at<kCfg>(p, sequence_at<kCfg>(p, block_z()), place.head);
  const Sequence& sequence = block.head.sequence;
  block.first_query = (num_blocks - 1 - place.block) * kCfg.block_q;
  const int end = block.first_query + kCfg.block_q;
  const int last = (end < sequence.q_len ? end : sequence.q_len) - 1;
  block.keys = {key_limits<kCfg>(p, block.head, block.first_query).lo,
                key_limits<kCfg>(p, block.head, last).hi};
  return block;
}

// Of rows l / 4 and l / 4 + 8 of each row tile.
template <AttnConfig kCfg>
struct DqRows {
  RowTerms terms[kCfg.row_tiles()][2];

  REGARD_DEVICE void load(const AttnBwdParams& p, const DqBlock& block) {
    const long long row = workspace_row<kCfg>(p, block.head.sequence, block.head.index) +
                          block.first_query + first_row_of_warp<kCfg>() +
                          thread_in_block() % 32 / 4;
    REGARD_UNROLL
    for (int i = 0; i < 2 * kCfg.row_tiles(); ++i) {
      terms[i / 2][i % 2] = {load_global(p.row_lse + row + i * 8),
                             load_global(p.row_delta + row + i * 8)};
    }
  }
};

// Products to gradients of scores. kIsClear: every query sees every key as far as limits and block
// mask go.
template <AttnConfig kCfg, bool kIsClear>
REGARD_DEVICE void finish_gradients(ScoreTile<kCfg>& scores, ScoreTile<kCfg>& d_weights,
                                    const AttnBwdParams& p, const DqBlock& block,
                                    const DqRows<kCfg>& rows, int first_key) {
  constexpr bool kMayHide = !kIsClear || kCfg.masks_pairs();
  const Sequence& sequence = block.head.sequence;
  const int lane = thread_in_block() % 32;
  KeptWeights<kCfg> kept;
  if constexpr (kCfg.has_dropout) {
    kept = kept_weights<kCfg>(p, block.head, block.first_query, first_key);
  }
  REGARD_UNROLL
  for (int i = 0; i < 2 * kCfg.row_tiles(); ++i) {
    const int t = i / 2, r = i % 2;
    const int query = block.first_query + first_row_of_warp<kCfg>() + i * 8 + lane / 4;
    const bool is_row = !kCfg.reads_pairs() || query < sequence.q_len;
    const KeyLimits keys = is_row ? key_limits<kCfg>(p, block.head, query) : KeyLimits{0, 0};
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 8; ++n) {
      const int first = first_key + n * 8 + lane % 4 * 2;
      REGARD_UNROLL
      for (int e = 0; e < 2; ++e) {
        float& d_weight = d_weights[t][n][2 * r + e];
        const bool is_kept = !kCfg.has_dropout || kept.contain(t, n, 2 * r + e);
        const float factor = is_kept ? p.dropout_scale : 0.0f;
        const PairScore score = pair_score<kCfg>(
            p, block.head, query, first + e, scores[t][n][2 * r + e],
            kIsClear || keys.contain(first + e), kIsClear ? Listing::full : Listing::mixed);
        d_weight =
            pair_gradient<kCfg, kMayHide>(p, score, rows.terms[t][r], d_weight, factor).score;
      }
    }
  }
}

// Whether every query of the block sees keys first_key .. first_key + block_k, as far as limits and
// block mask go. Queries past the last have weight 0 by their LSE.
template <AttnConfig kCfg>
REGARD_DEVICE bool is_clear_step(const AttnBwdParams& p, const DqBlock& block, int first_key) {
  if constexpr (kCfg.has_block_mask) {
    return false;
  }
  const int last = block.first_query + kCfg.block_q - 1;
  return (!kCfg.reads_pairs() || last < block.head.sequence.q_len) &&
         first_key >= key_limits<kCfg>(p, block.head, last).lo &&
         first_key + kCfg.block_k <= key_limits<kCfg>(p, block.head, block.first_query).hi;
}

template <AttnConfig kCfg>
REGARD_DEVICE void request_keys(const AttnBwdParams& p, const DqBlock& block, int key,
                                unsigned short* stage) {
  const Sequence& sequence = block.head.sequence;
  const long long row = sequence.k_begin + static_cast<long long>(key);
  const RowRange rows{block.keys.lo - key, block.keys.hi - key};
  load_tile<kCfg, kCfg.block_k, kCfg.head_dim>(stage,
                                               p.k.data + sequence.batch * p.k.stride_batch +
                                                   row * p.k.stride_seq +
                                                   block.head.kv_index * p.k.stride_head,
                                               p.k.stride_seq, rows, p.head_dim);
  load_tile<kCfg, kCfg.block_k, kCfg.value_dim>(stage + kCfg.k_elements(),
                                                p.v.data + sequence.batch * p.v.stride_batch +
                                                    row * p.v.stride_seq +
                                                    block.head.kv_index * p.v.stride_head,
                                                p.v.stride_seq, rows, p.value_dim);
  close_copies<kCfg>();
}

template <AttnConfig kCfg>
REGARD_DEVICE void load_queries(const AttnBwdParams& p, const DqBlock& block, unsigned short* q,
                                unsigned short* d_o) {
  const Sequence& sequence = block.head.sequence;
  const long long row = sequence.q_begin + block.first_query;
  const RowRange rows{0, sequence.q_len - block.first_query};
  load_tile<kCfg, kCfg.block_q, kCfg.head_dim>(q,
                                               p.q.data + sequence.batch * p.q.stride_batch +
                                                   row * p.q.stride_seq +
                                                   block.head.index * p.q.stride_head,
                                               p.q.stride_seq, rows, p.head_dim);
  load_tile<kCfg, kCfg.block_q, kCfg.value_dim>(d_o,
                                                p.d_o.data + sequence.batch * p.d_o.stride_batch +
                                                    row * p.d_o.stride_seq +
                                                    block.head.index * p.d_o.stride_head,
                                                p.d_o.stride_seq, rows, p.value_dim);
}

// dq += dS K of one step.
template <AttnConfig kCfg>
REGARD_DEVICE void add_step(Sums<kCfg.row_tiles(), kCfg.head_dim>& dq, const AttnBwdParams& p,
                            const DqBlock& block, const DqRows<kCfg>& rows, int key,
                            const unsigned short* q_smem, const unsigned short* d_o_smem,
                            const unsigned short* k_smem) {
  constexpr int kTiles = kCfg.row_tiles();
  const int first_row = first_row_of_warp<kCfg>();
  ScoreTile<kCfg> scores, d_weights;
  clear<kTiles, kCfg.block_k>(scores);
  multiply_rows<kCfg, kTiles, kCfg.block_k, kCfg.head_dim>(
      scores, q_smem + first_row * kCfg.k_stride(), kCfg.k_stride(), k_smem, kCfg.k_stride());
  REGARD_UNROLL
  for (int i = 0; i < kTiles * kCfg.block_k / 2; ++i) {
    const int t = i / (kCfg.block_k / 2), n = i % (kCfg.block_k / 2) / 4;
    d_weights[t][n][i % 4] = first_d_weight<kCfg>(rows.terms[t][i % 4 / 2].delta);
  }
  multiply_rows<kCfg, kTiles, kCfg.block_k, kCfg.value_dim>(
      d_weights, d_o_smem + first_row * kCfg.v_stride(), kCfg.v_stride(),
      k_smem + kCfg.k_elements(), kCfg.v_stride());
  if (is_clear_step<kCfg>(p, block, key)) {
    finish_gradients<kCfg, true>(scores, d_weights, p, block, rows, key);
  } else {
    finish_gradients<kCfg, false>(scores, d_weights, p, block, rows, key);
  }
  Fragments<kTiles, kCfg.block_k> gradients;
  pack_sums<kCfg, kTiles, kCfg.block_k>(gradients, d_weights);
  multiply_registers<kCfg, kTiles, kCfg.head_dim, kCfg.block_k>(dq, gradients, k_smem,
                                                                kCfg.k_stride());
}

template <AttnConfig kCfg>
REGARD_DEVICE void write_dq(const AttnBwdParams& p, const DqBlock& block,
                            const Sums<kCfg.row_tiles(), kCfg.head_dim>& dq) {
  const Sequence& sequence = block.head.sequence;
  const int lane = thread_in_block() % 32;
  with_store(p.dq, p.head_dim, [&](const auto& store) {
    REGARD_UNROLL
    for (int i = 0; i < 2 * kCfg.row_tiles(); ++i) {
      const int query = block.first_query + first_row_of_warp<kCfg>() + i * 8 + lane / 4;
      if (query < sequence.q_len) {
        const GradientRow row =
            gradient_row(p.dq, sequence.batch, sequence.q_begin + query, block.head.index);
        REGARD_UNROLL
        for (int n = 0; n < kCfg.head_dim / 8; ++n) {
          const float* pair = &dq[i / 2][n][i % 2 * 2];
          store(row, n * 8 + lane % 4 * 2, p.head_dim, pair[0] * p.scale, pair[1] * p.scale);
        }
      }
    }
  });
}

// `shared`: dq_smem_bytes(kCfg), 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_dq_mma(const AttnBwdParams& p, unsigned short* shared) {
  static_assert(why_unsupported(kCfg) == nullptr);
  constexpr int kStage = kCfg.k_elements() + kCfg.v_elements();
  const DqBlock block = dq_block<kCfg>(p);
  if (block.first_query >= block.head.sequence.q_len) {
    return;  // documents are shorter than the longest
  }
  unsigned short* const q_smem = shared;                        // [block_q, head_dim]
  unsigned short* const d_o_smem = shared + kCfg.q_elements();  // [block_q, value_dim]
  unsigned short* const stages = d_o_smem + kCfg.block_q * kCfg.v_stride();
  DqRows<kCfg> rows;
  rows.load(p, block);
  Sums<kCfg.row_tiles(), kCfg.head_dim> dq;
  clear<kCfg.row_tiles(), kCfg.head_dim>(dq);
  const int first = block.keys.lo / kCfg.block_k * kCfg.block_k;
  if (first < block.keys.hi) {
    load_queries<kCfg>(p, block, q_smem, d_o_smem);
    request_keys<kCfg>(p, block, first, stages);
  }
  int stage = 0;
  for (int key = first; key < block.keys.hi; key += kCfg.block_k) {
    unsigned short* const k_smem = stages + stage * kStage;
    const int next = key + kCfg.block_k;
    await_copies<kCfg, 0>();
    block_barrier();  // these keys are here; all warps are done with the last step's
    if constexpr (kCfg.num_stages == 2) {
      stage ^= 1;
      if (next < block.keys.hi) {
        request_keys<kCfg>(p, block, next, stages + stage * kStage);
      }
    }
    add_step<kCfg>(dq, p, block, rows, key, q_smem, d_o_smem, k_smem);
    if constexpr (kCfg.num_stages == 1) {
      block_barrier();
      if (next < block.keys.hi) {
        request_keys<kCfg>(p, block, next, k_smem);
      }
    }
  }
  write_dq<kCfg>(p, block, dq);
}

}  // namespace regard::gpu
