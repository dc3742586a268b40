// sage_mean: what a sage call needs of a whole sequence before a row can be quantised.
// Math     mean[d] = mean of K over the sequence's keys, in the order of core::mean_of_rows: sums
//          of 64 keys, then the sum of those, all ascending; value_scales[d] = scale of the largest
//          |V| of the channel, with 448 steps (e4m3).
// Shapes   K [B,Sk,Hkv,D] -> mean [sequences,Hkv,D]; V [B,Sk,Hkv,Dv] -> value_scales
//          [sequences,Hkv,Dv].
// Tiling   grid = (slices of 32 channels of K, then of V, Hkv, sequences); a lane is a channel, a
//          warp takes every num_warps-th block of 64 keys.
// Memory   shared: one number a thread.
// Numerics bit for bit the reference's: every sum has one order.
// Source   Zhang et al. 2024 (arXiv 2410.02367), section 4.2.
#pragma once

#include "sage_int8.cuh"
#include "sage_operands.cuh"

namespace regard::gpu {

// Visits column `col` of keys [begin, end) in order; loads run ahead in eights.
template <AttnConfig kCfg, typename Visit>
REGARD_DEVICE void for_column(const unsigned short* first, long long stride, int begin, int end,
                              const Visit& visit) {
  constexpr int kAhead = 8;
  int row = begin;
  for (; row + kAhead <= end; row += kAhead) {
    unsigned short bits[kAhead];
    REGARD_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      bits[i] = load_global(first + (row + i) * stride);
    }
    REGARD_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      visit(f32_from_bits<kCfg.element == Element::bf16>(bits[i]));
    }
  }
  for (; row < end; ++row) {
    visit(f32_from_bits<kCfg.element == Element::bf16>(load_global(first + row * stride)));
  }
}

// `shared`: one float for each thread.
template <AttnConfig kCfg>
REGARD_DEVICE void sage_mean(const SageParams& p, unsigned short* shared) {
  constexpr int kSlices = kCfg.head_dim / 32;
  const bool is_value = block_x() >= kSlices;
  if (!is_value && p.mean == nullptr) {
    return;
  }
  const Sequence sequence = sequence_at<kCfg>(p, block_z());
  const int lane = thread_in_block() % 32, warp = thread_in_block() / 32;
  const int col = (is_value ? block_x() - kSlices : block_x()) * 32 + lane;
  const OperandView& view = is_value ? p.v : p.k;
  const bool is_there = col < (is_value ? p.value_dim : p.head_dim);
  const unsigned short* first = view.data + sequence.batch * view.stride_batch +
                                sequence.k_begin * view.stride_seq + block_y() * view.stride_head +
                                col;
  auto* of_blocks = reinterpret_cast<float*>(shared);  // [warps][32]
  float total = 0.0f;                                  // of V the largest magnitude
  for (int begin = 0; begin < sequence.k_len; begin += kScaleKeys * kCfg.num_warps) {
    const int from = begin + warp * kScaleKeys;
    const int to = from + kScaleKeys < sequence.k_len ? from + kScaleKeys : sequence.k_len;
    float of_block = 0.0f;
    if (is_there) {
      for_column<kCfg>(first, view.stride_seq, from, to, [&](float x) {
        of_block =
            is_value ? float_of_word(larger(magnitude_word(x), word_of(of_block))) : of_block + x;
      });
    }
    store_shared(of_blocks + thread_in_block(), of_block);
    block_barrier();
    for (int i = 0; warp == 0 && i < kCfg.num_warps; ++i) {
      if (begin + i * kScaleKeys < sequence.k_len) {
        const float next = load_shared(of_blocks + i * 32 + lane);
        total = is_value ? float_of_word(larger(word_of(next), word_of(total))) : total + next;
      }
    }
    block_barrier();
  }
  if (warp != 0) {
    return;
  }
  if (!is_value) {
    const float mean = sequence.k_len == 0 ? 0.0f : total / static_cast<float>(sequence.k_len);
    store_global(of_sequence(p.mean, p, sequence, block_y(), kCfg.head_dim) + col, mean);
  } else if (is_there) {
    store_global(of_sequence(p.value_scales, p, sequence, block_y(), kCfg.value_dim) + col,
                 scale_of_group(word_of(total), kE4m3Steps));
  }
}

}  // namespace regard::gpu
