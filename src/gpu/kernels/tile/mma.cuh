// The two matrix products of attention over tiles in shared memory, one warp at a time. A warp owns
// kCfg.row_tiles() tiles of 16 queries; lane l holds of each tile rows l / 4 and l / 4 + 8, and of
// every 8 columns 2 * (l % 4) and the next.
#pragma once

#include "attn_config.h"
#include "platform.cuh"

namespace regard::gpu {

// [row tile][8 columns][row 0: two columns, row 8: two columns]
template <AttnConfig kCfg>
using ScoreTile = float[kCfg.row_tiles()][kCfg.block_k / 8][4];
template <AttnConfig kCfg>
using OutputTile = float[kCfg.row_tiles()][kCfg.value_dim / 8][4];

template <AttnConfig kCfg>
REGARD_DEVICE void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  matrix_product<kCfg.element == Element::bf16, kCfg.product == MatrixProduct::m16n8k16>(c, a, b0,
                                                                                         b1);
}

template <AttnConfig kCfg>
REGARD_DEVICE int first_row_of_warp() {
  if constexpr (kCfg.num_warps == 1) {
    return 0;  // also in kernels whose warps all have the same rows
  }
  return thread_in_block() / 32 * 16 * kCfg.row_tiles();
}

// Left operands of Q K^T: of each row tile and 16 columns.
template <AttnConfig kCfg>
using QueryFragments = unsigned[kCfg.keeps_q ? kCfg.head_dim / 16 : 1][kCfg.row_tiles()][4];

// Those of columns d .. d + 15 of q_smem [block_q, head_dim].
template <AttnConfig kCfg>
REGARD_DEVICE void load_query_fragments(unsigned (&to)[kCfg.row_tiles()][4],
                                        const unsigned short* q_smem, int d) {
  const int lane = thread_in_block() % 32;
  const unsigned short* q_row =
      q_smem + (first_row_of_warp<kCfg>() + lane % 16) * kCfg.k_stride() + lane / 16 * 8;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    load_fragments(to[t], q_row + t * 16 * kCfg.k_stride() + d);
  }
}

// With kCfg.keeps_q, once: all of them.
template <AttnConfig kCfg>
REGARD_DEVICE void keep_query_fragments(QueryFragments<kCfg>& kept, const unsigned short* q_smem) {
  if constexpr (kCfg.keeps_q) {
    REGARD_UNROLL
    for (int d = 0; d < kCfg.head_dim; d += 16) {
      load_query_fragments<kCfg>(kept[d / 16], q_smem, d);
    }
  }
}

// scores = Q K^T over q_smem [block_q, head_dim], or what was kept of it, and k_smem [block_k,
// head_dim].
template <AttnConfig kCfg>
REGARD_DEVICE void multiply_q_k(ScoreTile<kCfg>& scores, QueryFragments<kCfg>& kept,
                                const unsigned short* q_smem, const unsigned short* k_smem) {
  const int lane = thread_in_block() % 32;
  const unsigned short* k_row =
      k_smem + (lane % 8 + lane / 16 * 8) * kCfg.k_stride() + lane / 8 % 2 * 8;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 8; ++n) {
      scores[t][n][0] = scores[t][n][1] = scores[t][n][2] = scores[t][n][3] = 0.0f;
    }
  }
  REGARD_UNROLL
  for (int d = 0; d < kCfg.head_dim; d += 16) {
    unsigned(&a)[kCfg.row_tiles()][4] = kept[kCfg.keeps_q ? d / 16 : 0];
    if constexpr (!kCfg.keeps_q) {
      load_query_fragments<kCfg>(a, q_smem, d);
    }
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 16; ++n) {
      unsigned b[4];  // 16 keys: two for each of two matrix products
      load_fragments(b, k_row + n * 16 * kCfg.k_stride() + d);
      REGARD_UNROLL
      for (int t = 0; t < kCfg.row_tiles(); ++t) {
        multiply<kCfg>(scores[t][2 * n], a[t], b[0], b[1]);
        multiply<kCfg>(scores[t][2 * n + 1], a[t], b[2], b[3]);
      }
    }
  }
}
template <AttnConfig kCfg>
REGARD_DEVICE void multiply_q_k(ScoreTile<kCfg>& scores, const unsigned short* q_smem,
                                const unsigned short* k_smem) {
  static_assert(!kCfg.keeps_q);
  QueryFragments<kCfg> fragments;
  multiply_q_k<kCfg>(scores, fragments, q_smem, k_smem);
}

// The same for int8 operands, of which kCfg.head_dim counts pairs. Sums start at the bits of 1.5 *
// 2^23: read as a float, each is that plus the sum, exactly, because 127 * 127 * 256 < 2^22.
template <AttnConfig kCfg>
REGARD_DEVICE void multiply_q_k_int8(int (&sums)[kCfg.row_tiles()][kCfg.block_k / 8][4],
                                     QueryFragments<kCfg>& kept, const unsigned short* q_smem,
                                     const unsigned short* k_smem) {
  const int lane = thread_in_block() % 32;
  const unsigned short* k_row =
      k_smem + (lane % 8 + lane / 16 * 8) * kCfg.k_stride() + lane / 8 % 2 * 8;
  REGARD_UNROLL
  for (int t = 0; t < kCfg.row_tiles(); ++t) {
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 8; ++n) {
      sums[t][n][0] = sums[t][n][1] = sums[t][n][2] = sums[t][n][3] = 0x4B400000;
    }
  }
  REGARD_UNROLL
  for (int d = 0; d < kCfg.head_dim; d += 16) {
    unsigned(&a)[kCfg.row_tiles()][4] = kept[kCfg.keeps_q ? d / 16 : 0];
    if constexpr (!kCfg.keeps_q) {
      load_query_fragments<kCfg>(a, q_smem, d);
    }
    REGARD_UNROLL
    for (int n = 0; n < kCfg.block_k / 16; ++n) {
      unsigned b[4];
      load_fragments(b, k_row + n * 16 * kCfg.k_stride() + d);
      REGARD_UNROLL
      for (int t = 0; t < kCfg.row_tiles(); ++t) {
        matrix_product_int8(sums[t][2 * n], a[t], b[0], b[1]);
        matrix_product_int8(sums[t][2 * n + 1], a[t], b[2], b[3]);
      }
    }
  }
}

// Which of a lane's columns (and the other lanes' of the same ones) some row of the warp sees:
// 0 * NaN is NaN, so values of the others must not be multiplied. Where nothing but documents,
// causal and window, or chunks alone, hide pairs, every key between the first and the last that the
// block sees is seen by some row.
template <AttnConfig kCfg>
struct SeenKeys {
  unsigned columns = 0;  // bit i: column i % 2 of 8-column group i / 2

  static constexpr bool kIsUsed = kCfg.masks_pairs() || (kCfg.has_limits && kCfg.has_chunks);
  static constexpr unsigned kAll =
      kCfg.block_k < 128 ? (1u << kCfg.block_k / 4 % 32) - 1 : 0xFFFFFFFFu;
  static_assert(!kIsUsed || kCfg.block_k <= 128);

  REGARD_DEVICE void add(int column, bool is_seen) {
    if constexpr (kIsUsed) {
      columns |= is_seen ? 1u << column : 0u;
    }
  }
  REGARD_DEVICE void add_all() { columns = kAll; }
  REGARD_DEVICE unsigned of_warp() const {
    unsigned all = columns;
    all |= shuffle_xor(all, 4);
    all |= shuffle_xor(all, 8);
    return all | shuffle_xor(all, 16);
  }
};

// out += P V over v_smem [block_k, value_dim]; the sums of a product are, rounded, the left operand
// of the next: no lane gives anything away. kHasHoles: only of the keys in `seen`.
template <AttnConfig kCfg, bool kHasHoles>
REGARD_DEVICE void multiply_p_v_of(OutputTile<kCfg>& out, const ScoreTile<kCfg>& p,
                                   const unsigned short* v_smem, unsigned seen) {
  constexpr bool kIsBf16 = kCfg.element == Element::bf16;
  const int lane = thread_in_block() % 32;
  const unsigned short* v_row = v_smem + lane % 16 * kCfg.v_stride() + lane / 16 * 8;
  REGARD_UNROLL
  for (int k = 0; k < kCfg.block_k / 16; ++k) {
    unsigned a[kCfg.row_tiles()][4];
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      a[t][0] = pack<kIsBf16>(p[t][2 * k][0], p[t][2 * k][1]);
      a[t][1] = pack<kIsBf16>(p[t][2 * k][2], p[t][2 * k][3]);
      a[t][2] = pack<kIsBf16>(p[t][2 * k + 1][0], p[t][2 * k + 1][1]);
      a[t][3] = pack<kIsBf16>(p[t][2 * k + 1][2], p[t][2 * k + 1][3]);
    }
    unsigned kept[2];  // of the two rows that a register of V holds
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      kept[i] = (seen >> (4 * k + 2 * i) & 1 ? 0xFFFFu : 0u) |
                (seen >> (4 * k + 2 * i + 1) & 1 ? 0xFFFF0000u : 0u);
    }
    REGARD_UNROLL
    for (int n = 0; n < kCfg.value_dim / 16; ++n) {
      unsigned b[4];
      load_fragments_transposed(b, v_row + k * 16 * kCfg.v_stride() + n * 16);
      REGARD_UNROLL
      for (int i = 0; kHasHoles && i < 4; ++i) {
        b[i] &= kept[i % 2];
      }
      REGARD_UNROLL
      for (int t = 0; t < kCfg.row_tiles(); ++t) {
        multiply<kCfg>(out[t][2 * n], a[t], b[0], b[1]);
        multiply<kCfg>(out[t][2 * n + 1], a[t], b[2], b[3]);
      }
    }
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void multiply_p_v(OutputTile<kCfg>& out, const ScoreTile<kCfg>& p,
                                const unsigned short* v_smem, const SeenKeys<kCfg>& seen_keys) {
  if constexpr (SeenKeys<kCfg>::kIsUsed) {
    const unsigned seen = seen_keys.of_warp();
    if (any_lane(seen != SeenKeys<kCfg>::kAll)) {
      return multiply_p_v_of<kCfg, true>(out, p, v_smem, seen);
    }
  }
  multiply_p_v_of<kCfg, false>(out, p, v_smem, 0);
}

}  // namespace regard::gpu
