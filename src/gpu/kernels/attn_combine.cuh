// attn_combine: merges what attn_decode_mma computed of parts of the keys.
// Math     max = max_i max_i; O = sum_i 2^(max_i - max) O_i / sum_i 2^(max_i - max) sum_i, the sink
//          entering the denominator once; LSE likewise.
// Shapes   parts [num_splits, B*Sq*Hq, Dv rounded up] f32; O [B,Sq,Hq,Dv]; LSE [B,Hq,Sq] f32.
// Tiling   grid = B * Sq * Hq, one row a block; warp w takes splits w, w + num_warps, ..., a lane
//          every 32nd column.
// Memory   shared: the warps' sums (combine_smem_bytes).
// Numerics f32, summed in an order that depends on the number of splits alone.
// Source   Milakov and Gimelshein 2018 (arXiv 1805.02867).
#pragma once

#include "attn_config.h"
#include "attn_decode_config.h"
#include "attn_params.h"
#include "platform.cuh"
#include "tile/finish.cuh"

namespace regard::gpu {

template <typename Combine>
REGARD_DEVICE float over_warp(float x, const Combine& combine) {
  REGARD_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    x = combine(x, shuffle_xor(x, mask));
  }
  return x;
}

// Some parts of a row, as a warp takes them: every num_warps-th.
inline constexpr int kPartsAtOnce = 4;
template <AttnConfig kCfg>
struct RowParts {
  static constexpr int kColumns = (kCfg.value_dim + 31) / 32;  // of a lane
  float max[kPartsAtOnce], out[kPartsAtOnce][kColumns];

  REGARD_DEVICE RowParts(const AttnDecodeParams& p, long long row, int first_split) {
    REGARD_UNROLL
    for (int i = 0; i < kPartsAtOnce; ++i) {
      const int split = first_split + i * kCfg.num_warps;
      const bool exists = split < p.num_splits;
      const long long part = split * p.num_rows + row;
      max[i] = exists ? load_global(p.partial_max + part) : -infinity();
      REGARD_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        const int col = thread_in_block() % 32 + 32 * c;
        out[i][c] = exists && col < kCfg.value_dim
                        ? load_global(p.partial_out + part * kCfg.value_dim + col)
                        : 0.0f;
      }
    }
  }

  REGARD_DEVICE void add_to(float (&sums)[kColumns], float shift) const {
    REGARD_UNROLL
    for (int i = 0; i < kPartsAtOnce; ++i) {
      const float weight = exp2_fast(max[i] - shift);
      REGARD_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        sums[c] += weight * out[i][c];
      }
    }
  }
};

// Maximum and sum of a row over all parts.
struct RowTotal {
  float max, shift, sum;  // shift: the maximum, or 0 where no part has seen a key
};
REGARD_DEVICE RowTotal row_total(const AttnDecodeParams& p, long long row) {
  const int lane = thread_in_block() % 32;
  RowTotal total{-infinity(), 0.0f, 0.0f};
  for (int split = lane; split < p.num_splits; split += 32) {
    total.max = maximum(total.max, load_global(p.partial_max + split * p.num_rows + row));
  }
  total.max = over_warp(total.max, [](float a, float b) { return maximum(a, b); });
  total.shift = total.max == -infinity() ? 0.0f : total.max;
  for (int split = lane; split < p.num_splits; split += 32) {
    const long long part = split * p.num_rows + row;
    total.sum += exp2_fast(load_global(p.partial_max + part) - total.shift) *
                 load_global(p.partial_sum + part);
  }
  total.sum = over_warp(total.sum, [](float a, float b) { return a + b; });
  return total;
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_combine(const AttnDecodeParams& p, unsigned short* shared) {
  constexpr int kColumns = RowParts<kCfg>::kColumns, kStep = kPartsAtOnce * kCfg.num_warps;
  const int lane = thread_in_block() % 32, warp = thread_in_block() / 32;
  const long long row = block_x();
  await_earlier_kernels();
  RowParts<kCfg> parts(p, row, warp);  // under way while the maximum is found
  const RowTotal total = row_total(p, row);
  float out[kColumns] = {};
  parts.add_to(out, total.shift);
  for (int split = warp + kStep; split < p.num_splits; split += kStep) {
    RowParts<kCfg>(p, row, split).add_to(out, total.shift);
  }
  float* sums = reinterpret_cast<float*>(shared);  // [num_warps, value_dim]
  REGARD_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    if (lane + 32 * i < kCfg.value_dim) {
      store_shared(sums + warp * kCfg.value_dim + lane + 32 * i, out[i]);
    }
  }
  block_barrier();
  const int head = static_cast<int>(row % p.num_heads);
  const long long query = row / p.num_heads % p.q_len, batch = row / p.num_heads / p.q_len;
  const FinishedRow end = finish_row<kCfg>(head_at<kCfg>(p, {}, head), total.max, total.sum);
  for (int col = 2 * thread_in_block(); col < kCfg.value_dim; col += 2 * kCfg.num_threads()) {
    float low = 0.0f, high = 0.0f;
    REGARD_UNROLL
    for (int other = 0; other < kCfg.num_warps; ++other) {
      low += load_shared(sums + other * kCfg.value_dim + col);
      high += load_shared(sums + other * kCfg.value_dim + col + 1);
    }
    store_pair<kCfg>(
        p.o.data + batch * p.o.stride_batch + query * p.o.stride_seq + head * p.o.stride_head, col,
        p.value_dim, low * end.factor, high * end.factor);
  }
  if (thread_in_block() == 0 && p.lse.data != nullptr) {
    store_global(p.lse.data + batch * p.lse.stride_batch + head * p.lse.stride_head + query,
                 end.lse);
  }
}

}  // namespace regard::gpu
