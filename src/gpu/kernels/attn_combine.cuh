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

template <AttnConfig kCfg>
REGARD_DEVICE void attn_combine(const AttnDecodeParams& p, unsigned short* shared) {
  constexpr int kColumns = (kCfg.value_dim + 31) / 32;  // of a lane
  const int lane = thread_in_block() % 32, warp = thread_in_block() / 32;
  const long long row = block_x();
  await_earlier_kernels();
  float max = -infinity();
  for (int split = lane; split < p.num_splits; split += 32) {
    max = maximum(max, load_global(p.partial_max + split * p.num_rows + row));
  }
  max = over_warp(max, [](float a, float b) { return maximum(a, b); });
  const float shift = max == -infinity() ? 0.0f : max;
  float sum = 0.0f;
  for (int split = lane; split < p.num_splits; split += 32) {
    const long long part = split * p.num_rows + row;
    sum += exp2_fast(load_global(p.partial_max + part) - shift) * load_global(p.partial_sum + part);
  }
  sum = over_warp(sum, [](float a, float b) { return a + b; });
  float out[kColumns] = {};
  for (int split = warp; split < p.num_splits; split += kCfg.num_warps) {
    const long long part = split * p.num_rows + row;
    const float weight = exp2_fast(load_global(p.partial_max + part) - shift);
    REGARD_UNROLL
    for (int i = 0; i < kColumns; ++i) {
      const int col = lane + 32 * i;
      if (col < kCfg.value_dim) {
        out[i] += weight * load_global(p.partial_out + part * kCfg.value_dim + col);
      }
    }
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
  const FinishedRow end = finish_row<kCfg>(head_at<kCfg>(p, {}, head), max, sum);
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
