// sage_quantize: the operands of a sage call, rounded once for all blocks that read them.
// Math     x^ = round(x / scale), scale = max |x| / 127 of its group, for x = q and x = k - mean;
//          shift = q . mean; V in f16, or e4m3 values held in f16 with one scale a channel.
// Shapes   as SageParams; groups as ScaleGroups (regard/problem.h), counted from each sequence's
//          first row.
// Tiling   grid = (ceil(rows / 128 queries or 64 keys), Hq query heads and then Hkv key heads,
//          sequences). A warp has 32 queries, or the 16 keys of a per_thread group; a team of D / 8
//          lanes has a row.
// Memory   shared: one word a warp. Rows stay in registers, 16 bits an element;
//          with coarser groups queries are read twice.
// Numerics int8 values and scales are bit for bit those of core/int8_groups.h; shift is a sum of
// f32. Limits   f16 and bf16, D and Dv <= 256. Source   Zhang et al. 2024 (arXiv 2410.02367,
// 2411.10958).
#pragma once

#include "sage_int8.cuh"
#include "sage_operands.cuh"

namespace regard::gpu {

// Eight neighbouring channels of a row, as they lie in memory.
template <AttnConfig kCfg>
struct Channels {
  Piece piece;

  // From channel `col` on; zeros beyond `num_cols`.
  REGARD_DEVICE void load(const unsigned short* row, int col, int num_cols) {
    piece = {};
    if constexpr (kCfg.is_vectorised) {  // rows of whole pieces
      if (col < num_cols) {
        piece = load_global_piece(row + col);
      }
    } else {
      REGARD_UNROLL
      for (int e = 0; e < 8; ++e) {
        const unsigned bits = col + e < num_cols ? load_global(row + col + e) : 0u;
        piece.word[e / 2] |= bits << 16 * (e % 2);
      }
    }
  }
  REGARD_DEVICE float at(int e) const {
    return f32_from_bits<kCfg.element == Element::bf16>(piece.word[e / 2] >> 16 * (e % 2) &
                                                        0xFFFFu);
  }
};

// Rows as a warp holds them: a team of lanes a row, each with 8 channels.
template <AttnConfig kCfg>
struct Teams {
  static constexpr int kLanes = kCfg.head_dim <= 32    ? 4
                                : kCfg.head_dim <= 64  ? 8
                                : kCfg.head_dim <= 128 ? 16
                                                       : 32;
  static constexpr int kRows = 32 / kLanes;  // at a time
  static REGARD_DEVICE int team() { return thread_in_block() % 32 / kLanes; }
  static REGARD_DEVICE bool is_first_lane() { return thread_in_block() % kLanes == 0; }
  static REGARD_DEVICE int col() { return thread_in_block() % kLanes * 8; }

  static REGARD_DEVICE unsigned largest_of_team(unsigned word) {
    REGARD_UNROLL
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      word = larger(word, shuffle_xor(word, mask));
    }
    return word;
  }
  static REGARD_DEVICE float sum_of_team(float x) {
    REGARD_UNROLL
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      x += shuffle_xor(x, mask);
    }
    return x;
  }
};

// The mean of K over a lane's channels; zeros where K keeps it.
template <AttnConfig kCfg>
REGARD_DEVICE void load_mean(float (&mean)[8], const SageParams& p, const Sequence& sequence,
                             int kv_head) {
  const int col = Teams<kCfg>::col();
  const bool is_there = p.mean != nullptr && col < kCfg.head_dim;
  REGARD_UNROLL
  for (int e = 0; e < 8; ++e) {
    mean[e] = is_there
                  ? load_global(of_sequence(p.mean, p, sequence, kv_head, kCfg.head_dim) + col + e)
                  : 0.0f;
  }
}

// A lane's channels, less `mean`, as int8.
template <AttnConfig kCfg>
REGARD_DEVICE void store_int8(unsigned short* row, const Channels<kCfg>& x, const float (&mean)[8],
                              float scale) {
  unsigned long long bytes = 0;
  REGARD_UNROLL
  for (int e = 0; e < 8; ++e) {
    bytes |= static_cast<unsigned long long>(int8_byte(x.at(e) - mean[e], scale)) << 8 * e;
  }
  const int col = Teams<kCfg>::col();
  if (col < kCfg.head_dim) {
    store_global(reinterpret_cast<unsigned long long*>(row + col / 2), bytes);
  }
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

// Queries of a warp's 32 that are in registers at a time: up to two groups of each team, four rows
// a group.
template <AttnConfig kCfg>
struct QueryChunk {
  using Team = Teams<kCfg>;
  static constexpr int kGroups = Team::kRows < kQueryScales ? 2 : 1;
  static constexpr int kChunks = kQueryScales / (Team::kRows * kGroups);
  static constexpr int kRows = kScaleQueries / kQueryScales;
  Channels<kCfg> rows[kGroups][kRows];

  // From the warp's first query; group `group_of(chunk, 0)` is the chunk's first.
  static REGARD_DEVICE int group_of(int chunk, int i) {
    return (chunk * kGroups + i) * Team::kRows + Team::team();
  }

  REGARD_DEVICE void load(const SageParams& p, const unsigned short* from, int chunk,
                          int num_rows) {
    REGARD_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      REGARD_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int row = group_of(chunk, i) + r * kQueryScales;
        rows[i][r].load(from + row * p.q.stride_seq, Team::col(), row < num_rows ? p.head_dim : 0);
      }
    }
  }
  REGARD_DEVICE unsigned largest(int i) const {
    unsigned largest = 0;
    REGARD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      REGARD_UNROLL
      for (int e = 0; e < 8; ++e) {
        largest = larger(largest, magnitude_word(rows[i][r].at(e)));
      }
    }
    return Team::largest_of_team(largest);
  }
};

template <AttnConfig kCfg>
REGARD_DEVICE void quantize_queries(const SageParams& p, const Sequence& sequence, int head,
                                    unsigned short* shared) {
  using Team = Teams<kCfg>;
  using Chunk = QueryChunk<kCfg>;
  const int block_first = block_x() * kQueriesOfQuantizer;
  if (block_first >= sequence.q_len) {
    return;  // the whole block
  }
  const int first = block_first + thread_in_block() / 32 * kScaleQueries;
  const int num_rows = sequence.q_len - first;
  const unsigned short* from = p.q.data + sequence.batch * p.q.stride_batch +
                               (sequence.q_begin + first) * p.q.stride_seq + head * p.q.stride_head;
  Chunk chunk;
  unsigned of_all = 0;  // where groups are coarser than a chunk
  if (p.query_group_rows != 0) {
    for (int c = 0; c < Chunk::kChunks; ++c) {
      chunk.load(p, from, c, num_rows);
      REGARD_UNROLL
      for (int i = 0; i < Chunk::kGroups; ++i) {
        of_all = larger(of_all, chunk.largest(i));
      }
    }
    of_all = largest_of_warp(of_all);
    of_all = p.query_group_rows > kScaleQueries ? largest_of_block<kCfg>(of_all, shared) : of_all;
  }
  if (num_rows <= 0) {
    return;
  }
  constexpr float kNothing[8] = {};
  float mean[8];
  load_mean<kCfg>(mean, p, sequence, head / p.heads_per_kv_head);
  float* scales = query_scales<kCfg>(p, sequence, head, first);
  unsigned short* to = p.q_int8.data + sequence.batch * p.q_int8.stride_batch +
                       (sequence.q_begin + first) * p.q_int8.stride_seq +
                       head * p.q_int8.stride_head;
  for (int c = 0; c < Chunk::kChunks; ++c) {
    chunk.load(p, from, c, num_rows);
    REGARD_UNROLL
    for (int i = 0; i < Chunk::kGroups; ++i) {
      const unsigned largest = chunk.largest(i);
      const float scale = scale_of_group(p.query_group_rows != 0 ? of_all : largest, 127.0f);
      if (Team::is_first_lane()) {
        store_global(scales + Chunk::group_of(c, i), scale);
      }
      REGARD_UNROLL
      for (int r = 0; r < Chunk::kRows; ++r) {
        const Channels<kCfg>& row = chunk.rows[i][r];
        const int query = Chunk::group_of(c, i) + r * kQueryScales;
        float shift = 0.0f;
        REGARD_UNROLL
        for (int e = 0; e < 8; ++e) {
          shift += row.at(e) * mean[e];
        }
        shift = Team::sum_of_team(shift);
        if (query < num_rows) {
          store_int8<kCfg>(to + query * p.q_int8.stride_seq, row, kNothing, scale);
          if (p.mean != nullptr && Team::is_first_lane()) {
            store_global(shift_of(p, sequence, head, first + query), shift);
          }
        }
      }
    }
  }
}

// V in the 16-bit format of P V.
template <AttnConfig kCfg>
REGARD_DEVICE void round_values(const SageParams& p, const Sequence& sequence, int kv_head,
                                int first, int end) {
  constexpr int kPieces = kCfg.value_dim / 8;
  const unsigned short* from = p.v.data + sequence.batch * p.v.stride_batch +
                               sequence.k_begin * p.v.stride_seq + kv_head * p.v.stride_head;
  unsigned short* to = p.v_rounded.data + sequence.batch * p.v_rounded.stride_batch +
                       sequence.k_begin * p.v_rounded.stride_seq +
                       kv_head * p.v_rounded.stride_head;
  for (int i = thread_in_block(); i < (end - first) * kPieces; i += kCfg.num_threads()) {
    const int key = first + i / kPieces, col = i % kPieces * 8;
    Channels<kCfg> channels;
    channels.load(from + key * p.v.stride_seq, col, p.value_dim);
    float x[8];
    REGARD_UNROLL
    for (int e = 0; e < 8; ++e) {
      x[e] = channels.at(e);
      if (p.value_scales == nullptr) {
        x[e] = saturated_f16(x[e]);
      } else if (col + e < p.value_dim) {
        const float* scales = of_sequence(p.value_scales, p, sequence, kv_head, kCfg.value_dim);
        x[e] = rounded_e4m3(x[e] / load_global(scales + col + e));
      }
    }
    Piece piece;
    REGARD_UNROLL
    for (int word = 0; word < 4; ++word) {
      piece.word[word] = pack<false>(x[2 * word], x[2 * word + 1]);
    }
    store_global_piece(to + key * p.v_rounded.stride_seq + col, piece);
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void quantize_keys(const SageParams& p, const Sequence& sequence, int kv_head,
                                 unsigned short* shared) {
  using Team = Teams<kCfg>;
  static_assert(kCfg.num_warps == kKeyScales);
  constexpr int kLoads = kScaleKeys / kKeyScales / Team::kRows;
  const int first = block_x() * kScaleKeys;
  if (first >= sequence.k_len) {
    return;  // the whole block
  }
  const int group = thread_in_block() / 32;
  const unsigned short* from = p.k.data + sequence.batch * p.k.stride_batch +
                               sequence.k_begin * p.k.stride_seq + kv_head * p.k.stride_head;
  const auto key_of = [&](int i) {  // of the group's 16
    const int row = i * Team::kRows + Team::team();
    return first + row / 2 * 8 + group * 2 + row % 2;
  };
  Channels<kCfg> rows[kLoads];
  REGARD_UNROLL
  for (int i = 0; i < kLoads; ++i) {
    rows[i].load(from + key_of(i) * p.k.stride_seq, Team::col(),
                 key_of(i) < sequence.k_len ? p.head_dim : 0);
  }
  float mean[8];
  load_mean<kCfg>(mean, p, sequence, kv_head);
  unsigned largest = 0;
  REGARD_UNROLL
  for (int i = 0; i < kLoads; ++i) {
    REGARD_UNROLL
    for (int e = 0; e < 8; ++e) {
      const unsigned word = magnitude_word(rows[i].at(e) - mean[e]);
      largest = key_of(i) < sequence.k_len ? larger(largest, word) : largest;
    }
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
  for (int i = 0; i < kLoads; ++i) {
    if (key_of(i) < sequence.k_len) {
      store_int8<kCfg>(to + key_of(i) * p.k_int8.stride_seq, rows[i], mean, scale);
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
