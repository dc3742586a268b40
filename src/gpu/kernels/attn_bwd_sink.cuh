// attn_bwd_sink: the gradient of the sinks, beside any backward.
// Math     dsink = sum over rows of exp(sink - LSE) * delta, delta as attn_bwd_delta leaves it.
// Tiling   grid = (Hq); a block sums all rows of its head, each thread every num_threads-th of a
//          sequence, then the threads of a warp, then the warps: always in the same order.
// Memory   shared: one float a warp.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/exp2.cuh"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "tile/gradient.cuh"
#include "tile/simt.cuh"

namespace regard::gpu {

// `shared`: 4 * num_warps bytes.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_sink(const AttnBwdParams& p, unsigned short* shared) {
  auto* const sums = reinterpret_cast<float*>(shared);
  const int head = block_x(), warp = thread_in_block() / 32;
  const float sink_log2 = load_global(p.sink + head) * kLog2E;
  float sum = 0.0f;
  for (int i = 0; i < p.num_sequences; ++i) {
    const Sequence sequence = sequence_at<kCfg>(p, i);
    const long long workspace = workspace_row<kCfg>(p, sequence, head);
    for (int query = thread_in_block(); query < sequence.q_len; query += kCfg.num_threads()) {
      sum += exp2_accurate(sink_log2 - load_global(p.row_lse + workspace + query)) *
             load_global(p.row_delta + workspace + query);
    }
  }
  sum = sum_of_row(sum);
  sum += shuffle_xor(sum, 8);
  sum += shuffle_xor(sum, 16);
  if (thread_in_block() % 32 == 0) {
    store_shared(sums + warp, sum);
  }
  block_barrier();
  if (thread_in_block() == 0) {
    float total = 0.0f;
    for (int i = 0; i < kCfg.num_warps; ++i) {
      total += load_shared(sums + i);
    }
    store_global(p.terms.d_sink + head, total);
  }
}

}  // namespace regard::gpu
