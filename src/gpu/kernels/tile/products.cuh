// Matrix products of one warp over tiles in shared memory, for kernels that keep their scores in
// either orientation. Sums lie as in tile/mma.cuh: [row tile][8 columns][4].
#pragma once

#include "attn_config.h"
#include "platform.cuh"
#include "tile/mma.cuh"

namespace regard::gpu {

template <int kTiles, int kCols>
using Sums = float[kTiles][kCols / 8][4];
// Left operands, [16 of the depth][row tile].
template <int kTiles, int kDepth>
using Fragments = unsigned[kDepth / 16][kTiles][4];

// sums += A B^T over rows a_row.. [16 kTiles, kDepth] and b_row.. [kCols, kDepth].
template <AttnConfig kCfg, int kTiles, int kCols, int kDepth>
REGARD_DEVICE void multiply_rows(Sums<kTiles, kCols>& sums, const unsigned short* a_row,
                                 int a_stride, const unsigned short* b_row, int b_stride) {
  const int lane = thread_in_block() % 32;
  a_row += lane % 16 * a_stride + lane / 16 * 8;
  b_row += (lane % 8 + lane / 16 * 8) * b_stride + lane / 8 % 2 * 8;
  REGARD_UNROLL
  for (int d = 0; d < kDepth; d += 16) {
    unsigned a[kTiles][4];
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      load_fragments(a[t], a_row + t * 16 * a_stride + d);
    }
    REGARD_UNROLL
    for (int n = 0; n < kCols / 16; ++n) {
      unsigned b[4];
      load_fragments(b, b_row + n * 16 * b_stride + d);
      REGARD_UNROLL
      for (int t = 0; t < kTiles; ++t) {
        multiply<kCfg>(sums[t][2 * n], a[t], b[0], b[1]);
        multiply<kCfg>(sums[t][2 * n + 1], a[t], b[2], b[3]);
      }
    }
  }
}

// sums += A B of one step of depth 16; the lane's row of B.
template <AttnConfig kCfg, int kTiles, int kCols>
REGARD_DEVICE void multiply_depth(Sums<kTiles, kCols>& sums, const unsigned (&a)[kTiles][4],
                                  const unsigned short* b_row) {
  REGARD_UNROLL
  for (int n = 0; n < kCols / 16; ++n) {
    unsigned b[4];
    load_fragments_transposed(b, b_row + n * 16);
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      multiply<kCfg>(sums[t][2 * n], a[t], b[0], b[1]);
      multiply<kCfg>(sums[t][2 * n + 1], a[t], b[2], b[3]);
    }
  }
}

// sums += A B over A in registers and b_row.. [kDepth, kCols].
template <AttnConfig kCfg, int kTiles, int kCols, int kDepth>
REGARD_DEVICE void multiply_registers(Sums<kTiles, kCols>& sums, const Fragments<kTiles, kDepth>& a,
                                      const unsigned short* b_row, int b_stride) {
  const int lane = thread_in_block() % 32;
  b_row += (lane % 8 + lane / 8 % 2 * 8) * b_stride + lane / 16 * 8;
  REGARD_UNROLL
  for (int d = 0; d < kDepth / 16; ++d) {
    multiply_depth<kCfg, kTiles, kCols>(sums, a[d], b_row + d * 16 * b_stride);
  }
}

// sums += A B over a_row.. [16 kTiles, kDepth] and b_row.. [kDepth, kCols].
template <AttnConfig kCfg, int kTiles, int kCols, int kDepth>
REGARD_DEVICE void multiply_tiles(Sums<kTiles, kCols>& sums, const unsigned short* a_row,
                                  int a_stride, const unsigned short* b_row, int b_stride) {
  const int lane = thread_in_block() % 32;
  a_row += lane % 16 * a_stride + lane / 16 * 8;
  b_row += (lane % 8 + lane / 8 % 2 * 8) * b_stride + lane / 16 * 8;
  REGARD_UNROLL
  for (int d = 0; d < kDepth; d += 16) {
    unsigned a[kTiles][4];
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      load_fragments(a[t], a_row + t * 16 * a_stride + d);
    }
    multiply_depth<kCfg, kTiles, kCols>(sums, a, b_row + d * b_stride);
  }
}

// sums += A^T B over a_row.. [kDepth, 16 kTiles] and b_row.. [kDepth, kCols].
template <AttnConfig kCfg, int kTiles, int kCols, int kDepth>
REGARD_DEVICE void multiply_columns(Sums<kTiles, kCols>& sums, const unsigned short* a_row,
                                    int a_stride, const unsigned short* b_row, int b_stride) {
  const int lane = thread_in_block() % 32;
  a_row += (lane % 8 + lane / 16 * 8) * a_stride + lane / 8 % 2 * 8;
  b_row += (lane % 8 + lane / 8 % 2 * 8) * b_stride + lane / 16 * 8;
  REGARD_UNROLL
  for (int d = 0; d < kDepth; d += 16) {
    unsigned a[kTiles][4];
    REGARD_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      load_fragments_transposed(a[t], a_row + d * a_stride + t * 16);
    }
    multiply_depth<kCfg, kTiles, kCols>(sums, a, b_row + d * b_stride);
  }
}

// Sums, rounded, as left operands of the next product: no lane gives anything away.
template <AttnConfig kCfg, int kTiles, int kCols>
REGARD_DEVICE void pack_sums(Fragments<kTiles, kCols>& to, const Sums<kTiles, kCols>& sums) {
  REGARD_UNROLL
  for (int t = 0; t < kTiles; ++t) {
    REGARD_UNROLL
    for (int i = 0; i < kCols / 4; ++i) {
      const float* pair = &sums[t][i / 2][i % 2 * 2];
      to[i / 4][t][i % 4] = pack<kCfg.element == Element::bf16>(pair[0], pair[1]);
    }
  }
}

template <int kTiles, int kCols>
REGARD_DEVICE void clear(Sums<kTiles, kCols>& sums) {
  REGARD_UNROLL
  for (int t = 0; t < kTiles; ++t) {
    REGARD_UNROLL
    for (int n = 0; n < kCols / 8; ++n) {
      sums[t][n][0] = sums[t][n][1] = sums[t][n][2] = sums[t][n][3] = 0.0f;
    }
  }
}

}  // namespace regard::gpu
