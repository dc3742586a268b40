// attn_bwd_clear: zeros in the whole of dQ, dK and dV, for problems that leave some of their rows
// to nobody (documents with lengths of their own). Before the kernels that write the others. Tiling
// grid = (8 rows a block of the longer of Sq, Sk; heads; B); a warp a row.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "platform.cuh"
#include "tile/gradient.cuh"

namespace regard::gpu {

REGARD_DEVICE void clear_row(const GradientView& view, int num_heads, int num_rows, int num_cols,
                             int row) {
  if (block_y() >= num_heads || row >= num_rows) {
    return;
  }
  const GradientRow to = gradient_row(view, block_z(), row, block_y());
  for (int col = thread_in_block() % 32 * 2; col < num_cols; col += 64) {
    store_pair_apart(to, col, num_cols, 0.0f, 0.0f);
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_clear(const AttnBwdParams& p, unsigned short*) {
  const int row = block_x() * kCfg.num_warps + thread_in_block() / 32;
  const int num_kv_heads = p.num_heads / p.heads_per_kv_head;
  clear_row(p.dq, p.num_heads, p.q_len, p.head_dim, row);
  clear_row(p.dk, num_kv_heads, p.k_len, p.head_dim, row);
  clear_row(p.dv, num_kv_heads, p.k_len, p.value_dim, row);
}

}  // namespace regard::gpu
