// attn_decode_mma: exact attention of few query rows against many keys, on the matrix units of
// Turing and later (mma.sync); attn_combine merges where the keys were cut.
// Math     as attn_fwd_mma, over one part of the keys of each row.
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv]  O [B,Sq,Hq,Dv]  LSE [B,Hq,Sq] f32; any
//          strides, last = 1; K and V also [pages, page size, Hkv, D].
// Rows     the query heads of a key/value head are rows of one tile (row = query * group + head of
//          the group): keys and values are read once for all of them.
// Tiling   grid = (row tiles * splits, Hkv, sequences). A block has block_q rows and one part of
// the
//          keys that its rows see; a step is block_k of them, divided among the warps, each with a
//          softmax of its own over all rows.
// Memory   shared: Q tile + a ring of `num_stages` tiles of K and V, whose place the warps' sums
// take
//          at the end. Global: with splits, f32 sums of each part in a workspace.
// Pipeline num_stages - 1 steps of copies are under way while one is computed; one barrier a step.
// Numerics as attn_fwd_mma; the sums of warps and of splits are merged in their order: the same
//          bits at every run.
// Limits   D, Dv <= 256, f16 and bf16 (Turing f16); no dropout, no block mask.
// Source   Dao et al. 2023, Flash-Decoding; Milakov and Gimelshein 2018 (arXiv 1805.02867) for the
//          merge.
#pragma once

#include "attn_config.h"
#include "attn_decode_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"
#include "tile/finish.cuh"
#include "tile/key_rows.cuh"
#include "tile/mma.cuh"
#include "tile/softmax.cuh"

namespace regard::gpu {

// The rows and keys of one thread block.
struct DecodeBlock {
  Sequence sequence;
  int kv_head;
  int first_row, num_rows;  // of the sequence's merged rows
  int split;
  KeyLimits keys;  // of this split
};

struct DecodeRow {
  Head head;
  int query;
  KeyLimits keys;
};

template <AttnConfig kCfg>
REGARD_DEVICE DecodeRow decode_row(const ProblemParams& p, const Sequence& sequence, int kv_head,
                                   int row) {
  const int group = p.heads_per_kv_head;
  const int query = row / group;
  const Head head = head_at<kCfg>(p, sequence, kv_head * group + row - query * group);
  return {head, query, key_limits<kCfg>(p, head, query)};
}

// Keys that rows first .. last see; chunks differ from head to head, but two kinds are all.
template <AttnConfig kCfg>
REGARD_DEVICE KeyLimits keys_of_rows(const ProblemParams& p, const Sequence& sequence, int kv_head,
                                     int first, int last) {
  const int group = p.heads_per_kv_head;
  KeyLimits keys = {decode_row<kCfg>(p, sequence, kv_head, first).keys.lo,
                    decode_row<kCfg>(p, sequence, kv_head, last).keys.hi};
  if constexpr (kCfg.has_chunks) {
    const int first_query = first / group * group, last_query = last / group * group;
    for (int head = 0; head<group; head += group> 1 ? group - 1 : 1) {
      const int lo = decode_row<kCfg>(p, sequence, kv_head, first_query + head).keys.lo;
      const int hi = decode_row<kCfg>(p, sequence, kv_head, last_query + head).keys.hi;
      keys.lo = lo < keys.lo ? lo : keys.lo;
      keys.hi = hi > keys.hi ? hi : keys.hi;
    }
  }
  return keys;
}

// Keys that some row of the tile sees, cut into equal parts of whole steps.
template <AttnConfig kCfg>
REGARD_DEVICE DecodeBlock decode_block(const AttnDecodeParams& p) {
  DecodeBlock block;
  const int num_tiles = num_blocks_x() / p.num_splits;
  block.sequence = sequence_at<kCfg>(p, block_z());
  block.kv_head = block_y();
  block.split = block_x() / num_tiles;  // neighbours read the same keys
  block.first_row = block_x() % num_tiles * kCfg.block_q;
  block.num_rows = block.sequence.q_len * p.heads_per_kv_head;
  block.keys = {0, 0};
  if (block.first_row >= block.num_rows) {
    return block;
  }
  const int end = block.first_row + kCfg.block_q;
  const int last = (end < block.num_rows ? end : block.num_rows) - 1;
  const auto [lo, hi] = keys_of_rows<kCfg>(p, block.sequence, block.kv_head, block.first_row, last);
  const int num_steps = hi > lo ? (hi - lo + kCfg.block_k - 1) / kCfg.block_k : 0;
  const int part = (num_steps + p.num_splits - 1) / p.num_splits * kCfg.block_k;
  block.keys.lo = lo + block.split * part;
  block.keys.hi = block.keys.lo + part < hi ? block.keys.lo + part : hi;
  return block;
}

template <AttnConfig kCfg>
REGARD_DEVICE void load_merged_queries(unsigned short* q_smem, const AttnDecodeParams& p,
                                       const DecodeBlock& block) {
  const int group = p.heads_per_kv_head;
  const unsigned short* first = p.q.data + block.sequence.batch * p.q.stride_batch +
                                block.sequence.q_begin * p.q.stride_seq +
                                static_cast<long long>(block.kv_head) * group * p.q.stride_head;
  const auto source = [&](int row) {
    const int merged = block.first_row + row;
    const int query = merged / group;
    return first + query * p.q.stride_seq + (merged - query * group) * p.q.stride_head;
  };
  load_rows<kCfg, kCfg.block_q, kCfg.head_dim>(q_smem, source, p.q.data,
                                               {0, block.num_rows - block.first_row}, p.head_dim);
}

// Products of a warp to scores; what a row does not see: -infinity.
template <AttnConfig kCfg, AttnConfig kWarp, int kRowTiles>
REGARD_DEVICE SeenKeys<kWarp> finish_decode_scores(ScoreTile<kWarp>& scores,
                                                   const AttnDecodeParams& p,
                                                   const DecodeRow (&rows)[kRowTiles][2],
                                                   int first_key) {
  const int first_col = first_key + thread_in_block() % 4 * 2;
  SeenKeys<kWarp> seen;
  REGARD_UNROLL
  for (int t = 0; t < kRowTiles; ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      const DecodeRow& row = rows[t][r];
      REGARD_UNROLL
      for (int i = 0; i < kWarp.block_k / 4; ++i) {
        const int key = first_col + i / 2 * 8 + i % 2;
        float& score = scores[t][i / 2][2 * r + i % 2];
        const PairScore result =
            pair_score<kCfg>(p, row.head, row.query, key, score, row.keys.contain(key));
        score = result.log2;
        seen.add(i, result.is_seen);
      }
    }
  }
  return seen;
}

// [warp][row]: sums over the warp's keys.
template <AttnConfig kCfg>
struct WarpSums {
  float* out;  // rows merge_stride(kCfg) apart
  float *max, *sum;

  REGARD_DEVICE explicit WarpSums(unsigned short* shared)
      : out(reinterpret_cast<float*>(shared)),
        max(out + merge_rows(kCfg) * merge_stride(kCfg)),
        sum(max + merge_rows(kCfg)) {}
};

template <AttnConfig kCfg, AttnConfig kWarp>
REGARD_DEVICE void store_warp_sums(const WarpSums<kCfg>& sums, const RowState<kWarp>& rows,
                                   const OutputTile<kWarp>& out) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int t = 0; t < kWarp.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int row = thread_in_block() / 32 * kCfg.block_q + t * 16 + lane / 4 + r * 8;
      const float sum = sum_of_quad(rows.sum[t][r]);
      if (lane % 4 == 0) {
        store_shared(sums.max + row, rows.max[t][r]);
        store_shared(sums.sum + row, sum);
      }
      REGARD_UNROLL
      for (int i = 0; i < kCfg.value_dim / 4; ++i) {
        store_shared(sums.out + row * merge_stride(kCfg) + i / 2 * 8 + lane % 4 * 2 + i % 2,
                     out[t][i / 2][2 * r + i % 2]);
      }
    }
  }
}

// Two columns of a row of the block, over all its warps.
struct MergedPair {
  float low, high, max, sum;
};
template <AttnConfig kCfg>
REGARD_DEVICE MergedPair merge_warps(const WarpSums<kCfg>& sums, int row, int col) {
  MergedPair merged{0.0f, 0.0f, -infinity(), 0.0f};
  REGARD_UNROLL
  for (int warp = 0; warp < kCfg.num_warps; ++warp) {
    merged.max = maximum(merged.max, load_shared(sums.max + warp * kCfg.block_q + row));
  }
  // No warp has seen a key: 2^(-inf - 0) = 0, where -inf - -inf would be NaN.
  const float shift = merged.max == -infinity() ? 0.0f : merged.max;
  REGARD_UNROLL
  for (int warp = 0; warp < kCfg.num_warps; ++warp) {
    const int of_warp = warp * kCfg.block_q + row;
    const float weight = exp2_fast(load_shared(sums.max + of_warp) - shift);
    const float* out = sums.out + of_warp * merge_stride(kCfg) + col;
    merged.sum += weight * load_shared(sums.sum + of_warp);
    merged.low += weight * load_shared(out);
    merged.high += weight * load_shared(out + 1);
  }
  return merged;
}

// To O and LSE, or to this split's place in the workspace.
template <AttnConfig kCfg>
REGARD_DEVICE void write_pair(const AttnDecodeParams& p, const DecodeBlock& block, int row, int col,
                              const MergedPair& merged) {
  const Sequence& sequence = block.sequence;
  const int group = p.heads_per_kv_head;
  const int query = (block.first_row + row) / group;
  const int head = block.kv_head * group + block.first_row + row - query * group;
  const long long of_batch = sequence.q_begin + query;
  if (p.num_splits > 1) {
    const long long row_in_all =
        block.split * p.num_rows +
        (sequence.batch * static_cast<long long>(p.q_len) + of_batch) * p.num_heads + head;
    store_global(p.partial_out + row_in_all * kCfg.value_dim + col, merged.low);
    store_global(p.partial_out + row_in_all * kCfg.value_dim + col + 1, merged.high);
    if (col == 0) {
      store_global(p.partial_max + row_in_all, merged.max);
      store_global(p.partial_sum + row_in_all, merged.sum);
    }
    return;
  }
  const FinishedRow end =
      finish_row<kCfg>(head_at<kCfg>(p, sequence, head), merged.max, merged.sum);
  store_pair<kCfg>(p.o.data + sequence.batch * p.o.stride_batch + of_batch * p.o.stride_seq +
                       head * p.o.stride_head,
                   col, p.value_dim, merged.low * end.factor, merged.high * end.factor);
  if (col == 0 && p.lse.data != nullptr) {
    store_global(
        p.lse.data + sequence.batch * p.lse.stride_batch + head * p.lse.stride_head + of_batch,
        end.lse);
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void write_merged_rows(const AttnDecodeParams& p, const DecodeBlock& block,
                                     const WarpSums<kCfg>& sums) {
  constexpr int kPairs = kCfg.value_dim / 2;
  const int left = block.num_rows - block.first_row;
  const int num_rows = left < kCfg.block_q ? left : kCfg.block_q;
  for (int i = thread_in_block(); i < num_rows * kPairs; i += kCfg.num_threads()) {
    const int row = i / kPairs, col = i % kPairs * 2;
    write_pair<kCfg>(p, block, row, col, merge_warps<kCfg>(sums, row, col));
  }
}

// `shared`: decode_smem_bytes(kCfg) bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_decode_mma(const AttnDecodeParams& p, unsigned short* shared) {
  static_assert(why_unsupported_decode(kCfg) == nullptr);
  constexpr AttnConfig kWarp = of_one_warp(kCfg);
  let_next_kernel_begin();  // attn_combine: its blocks wait where these ones leave room
  const DecodeBlock block = decode_block<kCfg>(p);
  if (block.first_row >= block.num_rows) {
    return;  // the whole block: sequences are shorter than the longest
  }
  const int lane = thread_in_block() % 32, warp = thread_in_block() / 32;
  unsigned short* q_smem = shared;  // [block_q, head_dim]
  unsigned short* ring =
      q_smem + kCfg.q_elements();  // [num_stages]: [block_k, head_dim], [.., value_dim]
  int* places = reinterpret_cast<int*>(shared + places_offset(kCfg));  // [num_stages, block_k, 2]
  const KeyRows k_rows = key_rows<kCfg>(p.k, block.sequence, block.kv_head);
  const KeyRows v_rows = key_rows<kCfg>(p.v, block.sequence, block.kv_head);
  const PageTable table(p, block.sequence);
  const int num_keys = block.keys.hi > block.keys.lo ? block.keys.hi - block.keys.lo : 0;
  const int num_steps = (num_keys + kCfg.block_k - 1) / kCfg.block_k;
  const auto find_step = [&](int step) {
    if constexpr (kCfg.is_paged) {
      const int done = step * kCfg.block_k;
      find_keys<kCfg>(places + step % kCfg.num_stages * 2 * kCfg.block_k, table,
                      block.keys.lo + done, num_keys - done);
    }
  };
  const auto start_step = [&](int step) {
    if (step < num_steps) {
      const int slot = step % kCfg.num_stages, done = step * kCfg.block_k;
      const int* of_step = places + slot * 2 * kCfg.block_k;
      unsigned short* k_smem = ring + slot * stage_elements(kCfg);
      load_keys<kCfg, kCfg.head_dim>(k_smem, k_rows, of_step, block.keys.lo + done, num_keys - done,
                                     p.head_dim);
      load_keys<kCfg, kCfg.value_dim>(k_smem + kCfg.k_elements(), v_rows, of_step,
                                      block.keys.lo + done, num_keys - done, p.value_dim);
    }
    close_copies<kCfg>();  // past the end an empty group: the wait below counts
  };
  DecodeRow decode_rows[kWarp.row_tiles()][2];
  REGARD_UNROLL
  for (int i = 0; i < 2 * kWarp.row_tiles(); ++i) {
    const int row = block.first_row + i / 2 * 16 + i % 2 * 8 + lane / 4;
    const bool exists = row < block.num_rows;
    DecodeRow& of_lane = decode_rows[i / 2][i % 2];
    of_lane = decode_row<kCfg>(p, block.sequence, block.kv_head, exists ? row : block.num_rows - 1);
    of_lane.keys = exists ? of_lane.keys : KeyLimits{0, 0};
    of_lane.keys.hi = of_lane.keys.hi < block.keys.hi ? of_lane.keys.hi : block.keys.hi;
  }
  ScoreTile<kWarp> scores;
  OutputTile<kWarp> out = {};
  RowState<kWarp> rows;
  rows.clear();
  load_merged_queries<kCfg>(q_smem, p, block);
  if constexpr (kCfg.is_paged) {
    for (int step = 0; step < kCfg.num_stages; ++step) {
      find_step(step);
    }
    block_barrier();
  }
  REGARD_UNROLL
  for (int step = 0; step < kCfg.num_stages - 1; ++step) {
    start_step(step);
  }
  for (int step = 0; step < num_steps; ++step) {
    await_copies<kCfg, kCfg.num_stages - 2>();
    block_barrier();  // this step's tiles are here, those of the last one are read
    start_step(step + kCfg.num_stages - 1);
    find_step(step + kCfg.num_stages);
    const int own_keys = warp * kWarp.block_k;
    const unsigned short* k_smem = ring + step % kCfg.num_stages * stage_elements(kCfg);
    const unsigned short* v_smem = k_smem + kCfg.k_elements();
    multiply_q_k<kWarp>(scores, q_smem, k_smem + own_keys * kCfg.k_stride());
    const SeenKeys<kWarp> seen = finish_decode_scores<kCfg, kWarp>(
        scores, p, decode_rows, block.keys.lo + step * kCfg.block_k + own_keys);
    update_softmax<kWarp>(rows, scores, out);
    multiply_p_v<kWarp>(out, scores, v_smem + own_keys * kCfg.v_stride(), seen);
  }
  await_copies<kCfg, 0>();
  block_barrier();  // the ring is read
  const WarpSums<kCfg> sums(ring);
  store_warp_sums<kCfg, kWarp>(sums, rows, out);
  block_barrier();
  write_merged_rows<kCfg>(p, block, sums);
}

}  // namespace regard::gpu
