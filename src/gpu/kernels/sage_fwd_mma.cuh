// sage_fwd_mma: attention forward from int8 scores (SageAttention) on the matrix units of Ampere
// and later.
// Math     S = q^ k'^T with q^ = q8 * q_scale, k'^ = k8 * k_scale; O = round(P) V^ / l as
//          attn_fwd_mma, l the sum of unrounded P; LSE = that of S + scale * q . mean(K).
// Shapes   as attn_fwd_mma; Q and K as sage_quantize leaves them.
// Tiling   attn_fwd_mma's. Its config counts pairs of int8 where that of attn_fwd_mma counts
//          elements: a fragment of 16 elements of 16 bits is, byte for byte, one of 32 int8.
// Memory   as attn_fwd_mma, with half of its bytes for Q and K.
// Pipeline as attn_fwd_mma; the scale of a step's keys is requested before its K is awaited.
// Numerics int32 sums are exact and start at the bits of 1.5 * 2^23 as a float, so that they are
//          floats once that is subtracted; a lane's scores of a step share one scale
//          (ScaleGroups::per_thread was made for that), which the exponential's product takes in.
// Limits   D, Dv <= 256; everything else in why_unsupported_sage_fwd_mma().
// Source   Zhang et al. 2024 (arXiv 2411.10958); own layout.
#pragma once

#include "attn_fwd_mma.cuh"
#include "sage_int8.cuh"
#include "sage_operands.cuh"

namespace regard::gpu {

// The config of P V.
constexpr AttnConfig value_config(AttnConfig config) {
  config.element = config.values == ValueRounding::none ? config.element : Element::f16;
  return config;
}

// attend() with scores from int8 operands.
template <AttnConfig kCfg>
class Int8Scores {
  // A warp's rows share the block of their scales, and a step's keys theirs.
  static_assert(kScaleQueries % (16 * kCfg.row_tiles()) == 0 && kScaleKeys % kCfg.block_k == 0);
  // factor() of a step is for products alone.
  static_assert(!kCfg.folds_scale || !kCfg.changes_scores());

 public:
  static constexpr AttnConfig kValues = value_config(kCfg);

  REGARD_DEVICE Int8Scores(const SageParams& p, const RowBlock& block)
      : p_(p),
        block_(block),
        q_scale_(0.0f),
        k_scales_(key_scales<kCfg>(p, block.head.sequence, block.head.kv_index, 0) +
                  thread_in_block() % 4) {
    const int first = block.first_query + first_row_of_warp<kCfg>();
    const Sequence& sequence = block.head.sequence;
    if (first < sequence.q_len) {
      q_scale_ = load_global(query_scales<kCfg>(p, sequence, block.head.index, first) +
                             thread_in_block() % 32 / 4);
    }
    if constexpr (kCfg.has_softcap) {
      load_shifts(shifts_);
    }
  }

  REGARD_DEVICE void keep_queries(const unsigned short* q_smem) {
    keep_query_fragments<kCfg>(queries_, q_smem);
  }
  REGARD_DEVICE void begin_step(int key) {
    k_scale_ = load_global(k_scales_ + key / kScaleKeys * kKeyScales);
  }

  REGARD_DEVICE void multiply(ScoreTile<kCfg>& scores, const unsigned short* q_smem,
                              const unsigned short* k_smem) {
    int sums[kCfg.row_tiles()][kCfg.block_k / 8][4];
    multiply_q_k_int8<kCfg>(sums, queries_, q_smem, k_smem);
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      REGARD_UNROLL
      for (int n = 0; n < kCfg.block_k / 8; ++n) {
        REGARD_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float sum = __builtin_bit_cast(float, sums[t][n][i]) - kInt8Magic;
          scores[t][n][i] = kCfg.folds_scale ? sum : product(sum, t, i / 2);
        }
      }
    }
  }
  REGARD_DEVICE float factor() const {
    return kCfg.folds_scale ? q_scale_ * k_scale_ * p_.score_factor : 1.0f;
  }

  REGARD_DEVICE void round_weights(ScoreTile<kCfg>& weights) const {
    if constexpr (kCfg.values == ValueRounding::e4m3) {
      REGARD_UNROLL
      for (int t = 0; t < kCfg.row_tiles(); ++t) {
        REGARD_UNROLL
        for (int n = 0; n < kCfg.block_k / 8; ++n) {
          REGARD_UNROLL
          for (int i = 0; i < 4; ++i) {
            weights[t][n][i] = rounded_e4m3(weights[t][n][i] * kE4m3Steps);
          }
        }
      }
    }
  }

  // The LSE of the scores themselves: those above were without q . mean. (No sink: the largest
  // score enters nothing else.)
  REGARD_DEVICE void finish(RowState<kCfg>& rows, OutputTile<kCfg>& out) const {
    static_assert(!kCfg.has_sink);
    if constexpr (kCfg.values == ValueRounding::e4m3) {
      scale_values(out);
    }
    if constexpr (!kCfg.has_softcap) {
      Shifts shifts;
      load_shifts(shifts);
      REGARD_UNROLL
      for (int t = 0; t < kCfg.row_tiles(); ++t) {
        rows.max[t][0] += shifts[t][0] * (p_.scale * kLog2E);
        rows.max[t][1] += shifts[t][1] * (p_.scale * kLog2E);
      }
    }
  }

 private:
  // q . mean of the rows that a lane shares; zeros where K keeps its mean.
  using Shifts = float[kCfg.row_tiles()][2];

  REGARD_DEVICE void load_shifts(Shifts& shifts) const {
    const Sequence& sequence = block_.head.sequence;
    REGARD_UNROLL
    for (int t = 0; t < kCfg.row_tiles(); ++t) {
      REGARD_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int query = block_.first_query + first_row_of_warp<kCfg>() + t * 16 + r * 8 +
                          thread_in_block() % 32 / 4;
        const bool has_shift = p_.shifts != nullptr && query < sequence.q_len;
        shifts[t][r] =
            has_shift ? load_global(shift_of(p_, sequence, block_.head.index, query)) : 0.0f;
      }
    }
  }

  // q^ . k'^, and what it lacks of q . k where a score is not linear in it.
  REGARD_DEVICE float product(float sum, int t, int r) const {
    const float scaled = sum * (q_scale_ * k_scale_);
    return kCfg.has_softcap ? scaled + shifts_[t][r] : scaled;
  }

  // O of e4m3 values, of weights times 448.
  REGARD_DEVICE void scale_values(OutputTile<kCfg>& out) const {
    const float* scales = of_sequence(p_.value_scales, p_, block_.head.sequence,
                                      block_.head.kv_index, kCfg.value_dim);
    REGARD_UNROLL
    for (int n = 0; n < kCfg.value_dim / 8; ++n) {
      REGARD_UNROLL
      for (int c = 0; c < 2; ++c) {
        const int col = n * 8 + thread_in_block() % 4 * 2 + c;
        const float scale = col < p_.value_dim ? load_global(scales + col) / kE4m3Steps : 0.0f;
        REGARD_UNROLL
        for (int t = 0; t < kCfg.row_tiles(); ++t) {
          out[t][n][c] *= scale;
          out[t][n][2 + c] *= scale;
        }
      }
    }
  }

  const SageParams& p_;
  const RowBlock& block_;
  float q_scale_, k_scale_;
  const float* k_scales_;
  Shifts shifts_;  // of has_softcap
  QueryFragments<kCfg> queries_;
};

// `shared`: kCfg.smem_bytes() bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void sage_fwd_mma(const SageParams& p, unsigned short* shared) {
  const RowBlock block = row_block<kCfg>(p);
  if (block.first_query >= block.head.sequence.q_len) {
    return;  // the whole block: documents are shorter than the longest
  }
  Int8Scores<kCfg> products(p, block);
  attend<kCfg>(p, block, products, shared);
}

}  // namespace regard::gpu
