// K and V of one head, tile by tile into shared memory.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "tile/copy.cuh"

namespace regard::gpu {

template <AttnConfig kCfg>
class KeyTiles {
 public:
  // Of keys outside `keys` nothing is read: their rows become zero.
  REGARD_DEVICE KeyTiles(const ProblemParams& p, const Head& head, const KeyLimits& keys)
      : p_(p), k_(first_row(p.k, head)), v_(first_row(p.v, head)), keys_(keys) {}

  // Starts copying rows key .. key + block_k; nothing where no key is left.
  REGARD_DEVICE void load_k(unsigned short* smem, int key) const {
    if (key < keys_.hi) {
      load_tile<kCfg, kCfg.block_k, kCfg.head_dim>(smem, k_ + key * p_.k.stride_seq,
                                                   p_.k.stride_seq, rows(key), p_.head_dim);
    }
  }
  REGARD_DEVICE void load_v(unsigned short* smem, int key) const {
    if (key < keys_.hi) {
      load_tile<kCfg, kCfg.block_k, kCfg.value_dim>(smem, v_ + key * p_.v.stride_seq,
                                                    p_.v.stride_seq, rows(key), p_.value_dim);
    }
  }

 private:
  static REGARD_DEVICE const unsigned short* first_row(const OperandView& view, const Head& head) {
    return view.data + head.sequence.batch * view.stride_batch +
           head.sequence.k_begin * view.stride_seq + head.kv_index * view.stride_head;
  }
  REGARD_DEVICE RowRange rows(int key) const { return {keys_.lo - key, keys_.hi - key}; }

  const ProblemParams& p_;
  const unsigned short *k_, *v_;  // of key 0
  const KeyLimits keys_;
};

}  // namespace regard::gpu
