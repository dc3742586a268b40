// attn_bwd_terms: gradients of bias, ALiBi slopes and the score program's tensors, beside any
// backward.
// Math     dX = P (m dP - delta) is the gradient of the score after softcap and program;
//          dbias = sum of dX over the axes that the bias broadcasts, dslope = -sum dX * distance,
//          dtensor = sum dX * d program / d element.
// Shapes   as attn_bwd_simt; results f32, written whole by attn_bwd_terms_end.
// Tiling   grid = (ceil(Sq / block_q), Hq, B or documents); S and dP as attn_bwd_simt_dq.
// Sums     Many blocks meet in one element. Integers are added, whose sum does not depend on the
// order:
//          pass 0 finds the largest magnitude of each term's summands, pass 1 adds them in units of
//          2^-sum_bits of it. Sums over queries or keys are formed in the tile first, in a fixed
//          order. A bias whose every element belongs to one pair is written at once.
// Numerics f32 summands; the unit is at most 2^-22 of the largest where a term has up to 2^40 of
// them.
//          Where a summand is NaN or infinite, all of the term becomes NaN.
// Limits   those of attn_bwd_simt. Pairs that read one element of a tensor add to one address.
// Source   own.
#pragma once

#include "attn_bwd_simt.cuh"
#include "programs.cuh"

namespace regard::gpu {

// 2^exponent, from -126 to 127.
REGARD_DEVICE float power_of_two(int exponent) {
  return f32_from_word(static_cast<unsigned>(exponent + 127) << 23);
}

// Exponent of what a term's summands are multiplied by before they are added as integers.
REGARD_DEVICE int term_exponent(const GradientTerms& terms, int term, unsigned largest) {
  return terms.sum_bits[term] - (static_cast<int>(largest >> 23) - 126);
}
// x * 2^exponent, exact: the factor itself may be too large.
REGARD_DEVICE float scaled(float x, int exponent) {
  const int half = exponent / 2;
  return x * power_of_two(half) * power_of_two(exponent - half);
}

template <AttnConfig kCfg>
struct SimtTerms : SimtBackward<kCfg, Side::queries> {
  using Base = SimtBackward<kCfg, Side::queries>;
  using Base::kCols, Base::kRows, Base::p, Base::sequence, Base::first_own;
  using typename Base::Block;
  using typename Base::Tile;

  unsigned largest[kNumTerms] = {};  // pass 0

  REGARD_DEVICE SimtTerms(const AttnBwdParams& params, float* shared) : Base(params, shared) {}

  REGARD_DEVICE bool asks_for(int term) const { return p.terms.results[term] != nullptr; }

  REGARD_DEVICE void add(int term, long long element, float value) {
    if (value == 0.0f) {
      return;
    }
    const unsigned bits = word_from_f32(value) & 0x7FFFFFFFu;
    if (p.pass == 0) {
      largest[term] = bits > largest[term] ? bits : largest[term];
      return;
    }
    const unsigned most = load_global(p.terms.largest + term);
    if (most < 0x7F800000u) {
      const float units = scaled(value, term_exponent(p.terms, term, most));
      const auto rounded = static_cast<long long>(units + (units < 0.0f ? -0.5f : 0.5f));
      add_global(p.terms.sums + p.terms.first_sum[term] + element,
                 static_cast<unsigned long long>(rounded));
    }
  }

  // Products to gradients of scores before softcap and program; those of tensors are added.
  template <bool kIsClear>
  REGARD_DEVICE void finish_terms(const Head& head, const Block& block, const Tile& products,
                                  Tile& gradients) {
    const long long workspace = workspace_row<kCfg>(p, sequence, head.index);
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int query = first_own + first_own_row<kRows>() + i;
      const RowTerms row = Base::row_terms(workspace, query);
      REGARD_UNROLL
      for (int j = 0; j < kCols; j += 2) {
        const int first_key = block.first + first_other_row() + j / 4 * 32 + j % 4;
        DropoutPair factors{{1.0f, 1.0f}};
        if constexpr (kCfg.has_dropout) {
          factors = dropout_pair(p, sequence.index, head.index, query, first_key);
        }
        REGARD_UNROLL
        for (int e = 0; e < 2; ++e) {
          const int key = first_key + e;
          const float product = products[i][j + e];
          const bool is_inside = kIsClear || Base::is_pair(head, query, key);
          PairScore score = pair_score<kCfg>(p, head, query, key, product, is_inside,
                                             kIsClear ? Listing::full : Listing::mixed);
          score.slope = p.scale;  // not through softcap and program
          float& gradient = gradients[i][j + e];
          gradient = pair_gradient<kCfg, true>(p, score, row, gradient, factors.factor[e]).score;
          if constexpr (kCfg.has_score_program) {
            if (gradient != 0.0f) {
              add_tensors(head, query, key, product, gradient);
            }
          }
        }
      }
    }
  }

  REGARD_DEVICE void add_tensors(const Head& head, int query, int key, float product,
                                 float gradient) {
    constexpr AttnConfig kCapped{.element = kCfg.element, .has_softcap = kCfg.has_softcap};
    constexpr float kLn2 = 0.69314718055994531f;
    const float score = pair_score<kCapped>(p, head, query, key, product, true).log2 * kLn2;
    score_program_reads(p, program_pair(p, head, query, key, kCfg.is_packed), score,
                        [&](int tensor, int element, float derivative) {
                          if (asks_for(kFirstTensorTerm + tensor)) {
                            add(kFirstTensorTerm + tensor, element, gradient * derivative);
                          }
                        });
  }

  // Over the rows of a warp that share a column.
  REGARD_DEVICE static float sum_of_column(float x) {
    x += shuffle_xor(x, 8);
    return x + shuffle_xor(x, 16);
  }

  REGARD_DEVICE long long bias_index(int batch, int head, long long query, long long key) const {
    const long long(&extent)[4] = p.terms.bias_extent;
    const long long row =
        ((extent[0] == 1 ? 0 : batch) * extent[1] + (extent[1] == 1 ? 0 : head)) * extent[2] +
        (extent[2] == 1 ? 0 : query);
    return row * extent[3] + (extent[3] == 1 ? 0 : key);
  }

  REGARD_DEVICE void add_bias(const Head& head, const Block& block, const Tile& gradients) {
    const long long(&stride)[4] = p.terms.bias_stride;
    const bool sums_queries = stride[2] == 0, sums_keys = stride[3] == 0;
    float of_tile = 0.0f;
    float of_columns[kCols] = {};
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int query = first_own + first_own_row<kRows>() + i;
      const long long row = sequence.q_begin + query;
      float of_row = 0.0f;
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int key = block.first + first_other_row() + j / 4 * 32 + j % 4;
        const float gradient = gradients[i][j];
        of_row += gradient;
        of_columns[j] += gradient;
        if (!sums_queries && !sums_keys && query < sequence.q_len && key < sequence.k_len) {
          const long long column = sequence.k_begin + key;
          if (p.terms.owns_bias != 0) {
            store_global(p.terms.results[kBiasTerm] + sequence.batch * stride[0] +
                             head.index * stride[1] + row * stride[2] + column * stride[3],
                         gradient);
          } else {
            add(kBiasTerm, bias_index(sequence.batch, head.index, row, column), gradient);
          }
        }
      }
      of_tile += of_row;
      if (!sums_queries && sums_keys) {
        of_row = sum_of_row(of_row);
        if (lane_col() == 0 && query < sequence.q_len) {
          add(kBiasTerm, bias_index(sequence.batch, head.index, row, 0), of_row);
        }
      }
    }
    if (sums_queries && sums_keys) {
      of_tile = sum_of_column(sum_of_row(of_tile));
      if (thread_in_block() % 32 == 0) {
        add(kBiasTerm, bias_index(sequence.batch, head.index, 0, 0), of_tile);
      }
    } else if (sums_queries) {
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int key = block.first + first_other_row() + j / 4 * 32 + j % 4;
        const float of_column = sum_of_column(of_columns[j]);
        if (lane_row() == 0 && key < sequence.k_len) {
          add(kBiasTerm, bias_index(sequence.batch, head.index, 0, sequence.k_begin + key),
              of_column);
        }
      }
    }
  }

  REGARD_DEVICE void add_slope(const Head& head, const Block& block, const Tile& gradients) {
    float sum = 0.0f;
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int position = first_own + first_own_row<kRows>() + i + sequence.k_len - sequence.q_len;
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        const int distance = position - (block.first + first_other_row() + j / 4 * 32 + j % 4);
        sum -= gradients[i][j] * static_cast<float>(distance < 0 ? -distance : distance);
      }
    }
    sum = sum_of_column(sum_of_row(sum));
    if (thread_in_block() % 32 == 0) {
      add(kSlopesTerm,
          (p.terms.slopes_of_batch != 0 ? sequence.batch * p.num_heads : 0) + head.index, sum);
    }
  }

  REGARD_DEVICE void run() {
    const float* const own_rows = Base::own_smem + OwnOrder<kRows>::first_place() * Base::kStride;
    const float* const own_values =
        Base::own_value_smem + OwnOrder<kRows>::first_place() * Base::kValueStride;
    Block block = Base::first_block(0);
    if (block.group_index < Base::num_heads()) {
      Base::load_own();
      Base::request_rows(block, 0);
    }
    const Head head = Base::head_of(0);
    while (block.group_index < Base::num_heads()) {
      Tile products = {}, gradients;
      for (int c = 0; c < Base::kPieces; ++c) {  // S = Q K^T
        Base::stages.template advance<kCfg>();
        if (c + 1 < Base::kPieces) {
          Base::request_rows(block, c + 1);
        } else {
          Base::request_values(block, 0);
        }
        add_dot_products<kRows, kCols, Base::kColumns, Base::kStride, Base::kStageStride>(
            products, own_rows + c * Base::kColumns, Base::stages.current);
      }
      Base::begin_d_weights(block, gradients);
      const Block next = Base::next_block(block);
      for (int c = 0; c < Base::kValuePieces; ++c) {  // dP = dO V^T
        Base::stages.template advance<kCfg>();
        if (c + 1 < Base::kValuePieces) {
          Base::request_values(block, c + 1);
        } else if (next.group_index < Base::num_heads()) {
          Base::request_rows(next, 0);
        }
        add_dot_products<kRows, kCols, Base::kValueColumns, Base::kValueStride, Base::kStageStride>(
            gradients, own_values + c * Base::kValueColumns, Base::stages.current);
      }
      if (Base::is_clear(head, block)) {
        finish_terms<true>(head, block, products, gradients);
      } else {
        finish_terms<false>(head, block, products, gradients);
      }
      if (asks_for(kBiasTerm)) {
        add_bias(head, block, gradients);
      }
      if (kCfg.has_alibi && asks_for(kSlopesTerm)) {
        add_slope(head, block, gradients);
      }
      block = next;
    }
    if (p.pass == 0) {
      REGARD_UNROLL
      for (int term = 0; term < kNumTerms; ++term) {
        if (largest[term] != 0) {
          max_global(p.terms.largest + term, largest[term]);
        }
      }
    }
  }
};

// `shared`: query_gradient_layout(kCfg).smem_bytes() bytes, 16-byte aligned.
template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_terms(const AttnBwdParams& p, unsigned short* shared) {
  SimtTerms<kCfg> block(p, reinterpret_cast<float*>(shared));
  if (block.first_own < block.own_length()) {  // documents are shorter than the longest
    block.run();
  }
}

}  // namespace regard::gpu
