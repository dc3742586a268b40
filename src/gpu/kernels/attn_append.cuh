// attn_append: new keys and values behind those of a paged cache, keys rotated; rotated queries.
// Math     of pairs (x, y) of the first rotary_dim columns: (x cos - y sin, x sin + y cos), the
// angle
//          that of the pair's column and the token's position; the other columns as they are.
// Shapes   new K, V [B,Snew,Hkv,D/Dv], Q [B,Sq,Hq,D], packed or not; cache [pages,page
// size,Hkv,D/Dv];
//          cos, sin [positions, rotary_dim / 2].
// Tiling   grid = (ceil(most tokens / num_warps), Hkv + Hq or Hkv, sequences); a warp has one row.
// Numerics f32 products and their sum each rounded, as on the CPU: the same bits.
// Limits   f16 and bf16. Bound by latency: a decoding step appends one row a head and sequence.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "pair/score.cuh"
#include "platform.cuh"

namespace regard::gpu {

REGARD_DEVICE float load_angle(const AttnAppendParams& p, const void* table, long long element) {
  return p.table_format == BiasFormat::f32    ? load_bias<BiasFormat::f32>(table, element)
         : p.table_format == BiasFormat::bf16 ? load_bias<BiasFormat::bf16>(table, element)
                                              : load_bias<BiasFormat::f16>(table, element);
}

template <AttnConfig kCfg>
REGARD_DEVICE void copy_row(const unsigned short* from, unsigned short* to, int first, int end) {
  for (int d = first + thread_in_block() % 32; d < end; d += 32) {
    store_global(to + d, load_global(from + d));
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void rotate_row(const AttnAppendParams& p, const unsigned short* from,
                              unsigned short* to, int position) {
  constexpr bool kIsBf16 = kCfg.element == Element::bf16;
  const int half = p.cos == nullptr ? 0 : p.rotary_dim / 2;
  for (int i = thread_in_block() % 32; i < half; i += 32) {
    const int first = p.is_interleaved ? 2 * i : i,
              second = p.is_interleaved ? 2 * i + 1 : i + half;
    const long long angle = static_cast<long long>(position) * half + i;
    const float cos = load_angle(p, p.cos, angle), sin = load_angle(p, p.sin, angle);
    const float x = f32_from_bits<kIsBf16>(load_global(from + first));
    const float y = f32_from_bits<kIsBf16>(load_global(from + second));
    const unsigned pair = pack<kIsBf16>(rounded_product(x, cos) - rounded_product(y, sin),
                                        rounded_product(x, sin) + rounded_product(y, cos));
    store_global(to + first, static_cast<unsigned short>(pair));
    store_global(to + second, static_cast<unsigned short>(pair >> 16));
  }
  copy_row<kCfg>(from, to, 2 * half, p.head_dim);
}

// Row `token` of the new keys and values of key/value head `head`.
template <AttnConfig kCfg>
REGARD_DEVICE void append_token(const AttnAppendParams& p, int index, int head, int token,
                                int position) {
  int begin = 0, length = p.new_len;
  if constexpr (kCfg.is_packed) {
    begin = load_global(p.new_offsets + index);
    length = load_global(p.new_offsets + index + 1) - begin;
  }
  if (token >= length) {
    return;
  }
  const int row = load_global(p.old_lengths + index) + token;
  const int page = load_global(p.page_table + index * p.page_stride + row / p.k_len);
  const auto from = [&](const OperandView& view) {
    return view.data + (kCfg.is_packed ? 0 : index) * view.stride_batch +
           (begin + token) * view.stride_seq + head * view.stride_head;
  };
  const auto to = [&](const ResultView& view) {
    return view.data + page * view.stride_batch + row % p.k_len * view.stride_seq +
           head * view.stride_head;
  };
  rotate_row<kCfg>(p, from(p.new_k), to(p.k_cache), position + token);
  copy_row<kCfg>(from(p.new_v), to(p.v_cache), 0, p.value_dim);
}

template <AttnConfig kCfg>
REGARD_DEVICE void rotate_query(const AttnAppendParams& p, const Sequence& sequence, int head,
                                int token, int position) {
  if (token >= sequence.q_len) {
    return;
  }
  const long long row = sequence.q_begin + token;
  rotate_row<kCfg>(
      p,
      p.q.data + sequence.batch * p.q.stride_batch + row * p.q.stride_seq + head * p.q.stride_head,
      p.rotated_q.data + sequence.batch * p.rotated_q.stride_batch + row * p.rotated_q.stride_seq +
          head * p.rotated_q.stride_head,
      position + token * p.query_step);
}

// `shared` is not used.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_append(const AttnAppendParams& p, unsigned short*) {
  const int index = block_z();
  const int token = block_x() * kCfg.num_warps + thread_in_block() / 32;
  const int position =
      load_global((p.first_positions != nullptr ? p.first_positions : p.old_lengths) + index);
  const int num_kv_heads = p.num_heads / p.heads_per_kv_head;
  if (block_y() < num_kv_heads) {
    append_token<kCfg>(p, index, block_y(), token, position);
  } else {
    rotate_query<kCfg>(p, sequence_at<kCfg>(p, index), block_y() - num_kv_heads, token, position);
  }
}

}  // namespace regard::gpu
