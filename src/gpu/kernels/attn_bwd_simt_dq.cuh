// attn_bwd_simt_dq: dQ, block_q queries a thread block. See attn_bwd_simt.cuh.
#pragma once

#include "attn_bwd_simt.cuh"

namespace regard::gpu {

// `shared`: query_gradient_layout(kCfg).smem_bytes() bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_simt_dq(const AttnBwdParams& p, unsigned short* shared) {
  SimtBackward<kCfg, Side::queries> block(p, reinterpret_cast<float*>(shared));
  if (block.first_own < block.own_length()) {  // documents are shorter than the longest
    block.run();
  }
}

}  // namespace regard::gpu
