// sage_quantize: the operands of a sage call, rounded once for all blocks that read them.
// Math     x^ = round(x / scale), scale = max |x| / 127 of its group, for x = q and x = k - mean;
//          shift = q . mean; V in f16, or its e4m3 value times 2^0 in f16 with one scale a channel.
// Shapes   as SageParams; groups as ScaleGroups (regard/problem.h), counted from each sequence's
//          first row.
// Tiling   grid = (ceil(rows / 128 queries or 64 keys), Hq query heads and then Hkv key heads,
//          sequences). A warp has 32 queries, or the 16 keys of a per_thread group; a lane four
//          neighbouring channels of a row, so that a row is one word of int8 a lane.
// Memory   shared: one word a warp. Rows are read twice, the second time from the first cache.
// Numerics int8 values and scales are bit for bit those of core/int8_groups.h; shift to 2^-48 of
//          the sum of its magnitudes.
// Limits   f16 and bf16, D and Dv <= 256.
// Source   Zhang et al. 2024 (arXiv 2410.02367, 2411.10958).
#pragma once

#include "sage_int8.cuh"
#include "sage_operands.cuh"

namespace regard::gpu {

// Four channels `col` .. of a row; zeros beyond `num_cols`.
template <AttnConfig kCfg>
REGARD_DEVICE void load_quad(float (&to)[4], const unsigned short* row, int col, int num_cols) {
  constexpr bool kIsBf16 = kCfg.element == Element::bf16;
  if constexpr (kCfg.is_vectorised) {  // rows of whole pieces
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      const unsigned pair =
          col < num_cols ? load_global(reinterpret_cast<const unsigned*>(row + col) + i) : 0u;
      to[2 * i] = f32_from_bits<kIsBf16>(pair & 0xFFFFu);
      to[2 * i + 1] = f32_from_bits<kIsBf16>(pair >> 16);
    }
  } else {
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      to[i] = col + i < num_cols ? f32_from_bits<kIsBf16>(load_global(row + col + i)) : 0.0f;
    }
  }
}

// A row as the lanes of a warp hold it: lane l has channels 4 * l + 128 * i ...
template <int kDim>
struct WarpRow {
  static constexpr int kQuads = (kDim + 127) / 128;
  float x[kQuads][4];

  static REGARD_DEVICE int col(int i) { return (thread_in_block() % 32 + 32 * i) * 4; }

  template <AttnConfig kCfg>
  REGARD_DEVICE void load(const unsigned short* row, int num_cols) {
    REGARD_UNROLL
    for (int i = 0; i < kQuads; ++i) {
      load_quad<kCfg>(x[i], row, col(i), num_cols);
    }
  }
  REGARD_DEVICE unsigned largest(unsigned so_far) const {
    REGARD_UNROLL
    for (int i = 0; i < kQuads; ++i) {
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        so_far = larger(so_far, magnitude_word(x[i][e]));
      }
    }
    return so_far;
  }
  REGARD_DEVICE void subtract(const WarpRow& other) {
    REGARD_UNROLL
    for (int i = 0; i < kQuads; ++i) {
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        x[i][e] -= other.x[i][e];
      }
    }
  }
  // As int8 to `kDim` bytes.
  REGARD_DEVICE void store_int8(unsigned short* row, float scale) const {
    REGARD_UNROLL
    for (int i = 0; i < kQuads; ++i) {
      unsigned word = 0;
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        word |= int8_byte(x[i][e], scale) << 8 * e;
      }
      if (col(i) < kDim) {
        store_global(reinterpret_cast<unsigned*>(row + col(i) / 2), word);
      }
    }
  }
};

// Zeros where K keeps its mean.
template <AttnConfig kCfg>
REGARD_DEVICE WarpRow<kCfg.head_dim> load_mean(const SageParams& p, const Sequence& sequence,
                                               int kv_head) {
  using Row = WarpRow<kCfg.head_dim>;
  Row mean = {};
  if (p.mean != nullptr) {
    const float* from = of_sequence(p.mean, p, sequence, kv_head, kCfg.head_dim);
    REGARD_UNROLL
    for (int i = 0; i < Row::kQuads; ++i) {
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        mean.x[i][e] = Row::col(i) < kCfg.head_dim ? load_global(from + Row::col(i) + e) : 0.0f;
      }
    }
  }
  return mean;
}

REGARD_DEVICE unsigned largest_of_warp(unsigned word) {
  REGARD_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    word = larger(word, shuffle_xor(word, mask));
  }
  return word;
}

// Of the block's warps; every thread calls this.
template <AttnConfig kCfg>
REGARD_DEVICE unsigned largest_of_block(unsigned of_warp, unsigned short* shared) {
  auto* words = reinterpret_cast<float*>(shared);
  if (thread_in_block() % 32 == 0) {
    store_shared(words + thread_in_block() / 32, float_of_word(of_warp));
  }
  block_barrier();
  unsigned largest = 0;
  for (int i = 0; i < kCfg.num_warps; ++i) {
    largest = larger(largest, word_of(load_shared(words + i)));
  }
  return largest;
}

// Sum over the warp's lanes, in two floats on the way.
REGARD_DEVICE double sum_of_warp(double x) {
  REGARD_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const float high = static_cast<float>(x);
    const float low = static_cast<float>(x - static_cast<double>(high));
    x += static_cast<double>(shuffle_xor(high, mask)) + static_cast<double>(shuffle_xor(low, mask));
  }
  return x;
}

template <AttnConfig kCfg>
REGARD_DEVICE void quantize_queries(const SageParams& p, const Sequence& sequence, int head,
                                    unsigned short* shared) {
  using Row = WarpRow<kCfg.head_dim>;
  const int lane = thread_in_block() % 32;
  const int block_first = block_x() * kQueriesOfQuantizer;
  if (block_first >= sequence.q_len) {
    return;  // the whole block
  }
  const int first = block_first + thread_in_block() / 32 * kScaleQueries;
  const unsigned short* from = p.q.data + sequence.batch * p.q.stride_batch +
                               sequence.q_begin * p.q.stride_seq + head * p.q.stride_head;
  unsigned largest[kQueryScales] = {};
  REGARD_UNROLL
  for (int group = 0; group < kQueryScales; ++group) {
    REGARD_UNROLL
    for (int i = 0; i < kScaleQueries / kQueryScales; ++i) {
      const int query = first + group + i * kQueryScales;
      if (query < sequence.q_len) {
        Row row;
        row.template load<kCfg>(from + query * p.q.stride_seq, p.head_dim);
        largest[group] = row.largest(largest[group]);
      }
    }
    largest[group] = largest_of_warp(largest[group]);
  }
  if (p.query_group_rows != 0) {
    unsigned all = 0;
    for (int group = 0; group < kQueryScales; ++group) {
      all = larger(all, largest[group]);
    }
    if (p.query_group_rows > kScaleQueries) {
      all = largest_of_block<kCfg>(all, shared);
    }
    REGARD_UNROLL
    for (int group = 0; group < kQueryScales; ++group) {
      largest[group] = all;
    }
  }
  if (first >= sequence.q_len) {
    return;
  }
  const Row mean = load_mean<kCfg>(p, sequence, head / p.heads_per_kv_head);
  float* scales = query_scales<kCfg>(p, sequence, head, first);
  unsigned short* to = p.q_int8.data + sequence.batch * p.q_int8.stride_batch +
                       sequence.q_begin * p.q_int8.stride_seq + head * p.q_int8.stride_head;
  REGARD_UNROLL
  for (int group = 0; group < kQueryScales; ++group) {
    const float scale = scale_of_group(largest[group], 127.0f);
    if (lane == group) {
      store_global(scales + group, scale);
    }
    for (int query = first + group; query < first + kScaleQueries && query < sequence.q_len;
         query += kQueryScales) {
      Row row;
      row.template load<kCfg>(from + query * p.q.stride_seq, p.head_dim);
      row.store_int8(to + query * p.q_int8.stride_seq, scale);
      if (p.mean != nullptr) {
        double shift = 0;
        REGARD_UNROLL
        for (int i = 0; i < Row::kQuads; ++i) {
          REGARD_UNROLL
          for (int e = 0; e < 4; ++e) {
            shift += static_cast<double>(row.x[i][e]) * static_cast<double>(mean.x[i][e]);
          }
        }
        shift = sum_of_warp(shift);
        if (lane == 0) {
          store_global(shift_of(p, sequence, head, query), static_cast<float>(shift));
        }
      }
    }
  }
}

// V in the 16-bit format of P V.
template <AttnConfig kCfg>
REGARD_DEVICE void round_values(const SageParams& p, const Sequence& sequence, int kv_head,
                                int first, int end) {
  constexpr int kQuads = kCfg.value_dim / 4;
  const unsigned short* from = p.v.data + sequence.batch * p.v.stride_batch +
                               sequence.k_begin * p.v.stride_seq + kv_head * p.v.stride_head;
  unsigned short* to = p.v_rounded.data + sequence.batch * p.v_rounded.stride_batch +
                       sequence.k_begin * p.v_rounded.stride_seq +
                       kv_head * p.v_rounded.stride_head;
  for (int i = thread_in_block(); i < (end - first) * kQuads; i += kCfg.num_threads()) {
    const int key = first + i / kQuads, col = i % kQuads * 4;
    float x[4];
    load_quad<kCfg>(x, from + key * p.v.stride_seq, col, p.value_dim);
    REGARD_UNROLL
    for (int e = 0; e < 4; ++e) {
      if (p.value_scales == nullptr) {
        x[e] = saturated_f16(x[e]);
      } else if (col + e < p.value_dim) {
        const float* scales = of_sequence(p.value_scales, p, sequence, kv_head, kCfg.value_dim);
        x[e] = rounded_e4m3(x[e] / load_global(scales + col + e));
      }
    }
    auto* words = reinterpret_cast<unsigned*>(to + key * p.v_rounded.stride_seq + col);
    store_global(words, pack<false>(x[0], x[1]));
    store_global(words + 1, pack<false>(x[2], x[3]));
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void quantize_keys(const SageParams& p, const Sequence& sequence, int kv_head,
                                 unsigned short* shared) {
  using Row = WarpRow<kCfg.head_dim>;
  static_assert(kCfg.num_warps == kKeyScales);
  constexpr int kRows = kScaleKeys / kKeyScales;
  const int first = block_x() * kScaleKeys;
  if (first >= sequence.k_len) {
    return;  // the whole block
  }
  const int group = thread_in_block() / 32;
  const unsigned short* from = p.k.data + sequence.batch * p.k.stride_batch +
                               sequence.k_begin * p.k.stride_seq + kv_head * p.k.stride_head;
  const Row mean = load_mean<kCfg>(p, sequence, kv_head);
  const auto load_key = [&](int i, Row& row) {  // of the group's 16
    const int key = first + i / 2 * 8 + group * 2 + i % 2;
    if (key < sequence.k_len) {
      row.template load<kCfg>(from + key * p.k.stride_seq, p.head_dim);
      row.subtract(mean);
    }
    return key;
  };
  unsigned largest = 0;
  REGARD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    Row row = {};
    load_key(i, row);
    largest = row.largest(largest);
  }
  largest = largest_of_warp(largest);
  if (p.query_group_rows != 0) {
    largest = largest_of_block<kCfg>(largest, shared);
  }
  const float scale = scale_of_group(largest, 127.0f);
  if (thread_in_block() % 32 == 0) {
    store_global(key_scales<kCfg>(p, sequence, kv_head, first) + group, scale);
  }
  unsigned short* to = p.k_int8.data + sequence.batch * p.k_int8.stride_batch +
                       sequence.k_begin * p.k_int8.stride_seq + kv_head * p.k_int8.stride_head;
  REGARD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    Row row = {};
    const int key = load_key(i, row);
    if (key < sequence.k_len) {
      row.store_int8(to + key * p.k_int8.stride_seq, scale);
    }
  }
  if (p.v_rounded.data != nullptr) {
    const int end = first + kScaleKeys < sequence.k_len ? first + kScaleKeys : sequence.k_len;
    round_values<kCfg>(p, sequence, kv_head, first, end);
  }
}

// `shared`: one word for each warp.
template <AttnConfig kCfg>
REGARD_DEVICE void sage_quantize(const SageParams& p, unsigned short* shared) {
  const Sequence sequence = sequence_at<kCfg>(p, block_z());
  if (block_y() < p.num_heads) {
    quantize_queries<kCfg>(p, sequence, block_y(), shared);
  } else {
    quantize_keys<kCfg>(p, sequence, block_y() - p.num_heads, shared);
  }
}

}  // namespace regard::gpu
