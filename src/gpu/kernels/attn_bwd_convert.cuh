// attn_bwd_convert: dQ from the sums that attn_bwd_mma left in the workspace.
// Math     dQ = scale * dq_sum.
// Shapes   dQ [B,Sq,Hq,D] of any format; dq_sum as the fragments lie in attn_bwd_mma's lanes: 512
//          bytes for 16 rows by 8 columns, of which lane l holds two columns of rows l / 4 and
//          l / 4 + 8.
// Tiling   grid = (ceil(Sq / block_q), Hq, B or documents). A thread takes what four neighbouring
//          lanes held, 64 bytes, and writes two rows of 8 columns; the threads of a row are
//          neighbours.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "tile/gradient.cuh"

namespace regard::gpu {

// Of fragment (16 rows, 8 columns) in the tile of block_q rows: which one it is for add_dq.
template <AttnConfig kCfg>
REGARD_DEVICE int dq_fragment(int row_tile, int col_tile) {
  constexpr DqWarps kWarps = dq_warps(kCfg);
  constexpr int kTiles = kCfg.block_q / (16 * kWarps.rows);
  constexpr int kCols = kCfg.head_dim / kWarps.cols / 8;
  const int warp = row_tile / kTiles * kWarps.cols + col_tile / kCols;
  return (warp * kTiles + row_tile % kTiles) * kCols + col_tile % kCols;
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_convert(const AttnBwdParams& p, unsigned short*) {
  constexpr int kColTiles = kCfg.head_dim / 8;
  const Sequence sequence = sequence_at<kCfg>(p, block_z());
  const int first_query = block_x() * kCfg.block_q, head = block_y();
  if (first_query >= sequence.q_len) {
    return;
  }
  const float* tile =
      p.dq_sum + (workspace_row<kCfg>(p, sequence, head) + first_query) * kCfg.head_dim;
  REGARD_UNROLL
  for (int i = thread_in_block(); i < kCfg.block_q / 2 * kColTiles; i += kCfg.num_threads()) {
    const int col_tile = i % kColTiles, row = i / kColTiles % 8, row_tile = i / kColTiles / 8;
    const float* from = tile + dq_fragment<kCfg>(row_tile, col_tile) * 128 + row * 16;
    float sums[2][8];
    REGARD_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
      const Quad quad = load_global(reinterpret_cast<const Quad*>(from + lane * 4));
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        sums[e / 2][lane * 2 + e % 2] = quad.value[e] * p.scale;
      }
    }
    REGARD_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int query = first_query + row_tile * 16 + half * 8 + row;
      if (query < sequence.q_len) {
        store_gradients(gradient_row(p.dq, sequence.batch, sequence.q_begin + query, head),
                        col_tile * 8, p.head_dim, sums[half]);
      }
    }
  }
}

}  // namespace regard::gpu
