// attn_bwd_delta: what the backward needs of each query's row, before everything else.
// Math     row_delta = dLSE - rowsum(dO * O); row_lse = LSE * log2(e), +infinity where LSE is
//          -infinity: every weight exp2(score - row_lse) of such a row is then 0. Clears dq_sum.
// Shapes   O, dO [B,Sq,Hq,Dv]; LSE, dLSE [B,Hq,Sq] f32; results in rows of the workspace
//          (attn_bwd_layout.h), also those beyond the last query.
// Tiling   grid = (row groups of the longest sequence, Hq, B or documents). 8 lanes a row: at Dv 64
//          each reads one piece of 16 bytes of O and of dO.
// Numerics f32 products and sums.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "tile/elements.cuh"
#include "tile/gradient.cuh"
#include "tile/softmax.cuh"

namespace regard::gpu {

// Of rows that begin at `a` and `b`: this lane's share, every 8th piece.
template <AttnConfig kCfg>
REGARD_DEVICE float product_share(const unsigned short* a, const unsigned short* b, int num_cols,
                                  int part) {
  constexpr Element kElement = kCfg.element;
  constexpr int kElements = kElementsOfPiece<kElement>;
  float sum = 0.0f;
  REGARD_UNROLL
  for (int col = part * kElements; col < kCfg.value_dim; col += 8 * kElements) {
    if constexpr (kCfg.is_vectorised) {
      if (col < num_cols) {
        const Piece x = load_global_piece(element_at<kElement>(a, col)),
                    y = load_global_piece(element_at<kElement>(b, col));
        REGARD_UNROLL
        for (int i = 0; i < kElements; ++i) {
          sum += element_of_piece<kElement>(x, i) * element_of_piece<kElement>(y, i);
        }
      }
    } else {
      for (int i = col; i < col + kElements && i < num_cols; ++i) {
        sum += load_element<kElement>(a, i) * load_element<kElement>(b, i);
      }
    }
  }
  return sum;
}

template <AttnConfig kCfg>
REGARD_DEVICE void write_row(const AttnBwdParams& p, const Sequence& sequence, int head, int query,
                             long long workspace, float product) {
  float lse = infinity(), delta = 0.0f;
  if (query < sequence.q_len) {
    const long long row = sequence.q_begin + query;
    lse = kLog2E * load_global(p.lse.data + sequence.batch * p.lse.stride_batch +
                               head * p.lse.stride_head + row);
    lse = lse == -infinity() ? infinity() : lse;
    delta = -product;
    if (p.d_lse.data != nullptr) {
      delta += load_global(p.d_lse.data + sequence.batch * p.d_lse.stride_batch +
                           head * p.d_lse.stride_head + row);
    }
  }
  store_global(p.row_lse + workspace, lse);
  store_global(p.row_delta + workspace, delta);
}

template <AttnConfig kCfg>
REGARD_DEVICE void clear_dq(const AttnBwdParams& p, long long first_row) {
  float* const sums = p.dq_sum + first_row * kCfg.head_dim;
  for (int i = thread_in_block(); i < kRowGroup * kCfg.head_dim / 4; i += kCfg.num_threads()) {
    store_global(reinterpret_cast<Piece*>(sums) + i, Piece{});
  }
}

template <AttnConfig kCfg>
REGARD_DEVICE void attn_bwd_delta(const AttnBwdParams& p, unsigned short*) {
  const int head = block_y(), part = thread_in_block() % 8;
  const Sequence sequence = sequence_at<kCfg>(p, block_z());
  const int first = block_x() * kRowGroup;
  if (first >= sequence.q_len) {
    return;
  }
  const long long workspace = workspace_row<kCfg>(p, sequence, head) + first;
  REGARD_UNROLL
  for (int i = thread_in_block() / 8; i < kRowGroup; i += kCfg.num_threads() / 8) {
    const int query = first + i;
    const long long row = sequence.q_begin + query;
    float product = 0.0f;
    if (query < sequence.q_len) {
      const auto row_of = [&](const OperandView& view) {
        return element_at<kCfg.element>(
            view.data,
            sequence.batch * view.stride_batch + row * view.stride_seq + head * view.stride_head);
      };
      product = product_share<kCfg>(row_of(p.o), row_of(p.d_o), p.value_dim, part);
    }
    product = sum_of_quad(product);
    product += shuffle_xor(product, 4);
    if (part == 0) {
      write_row<kCfg>(p, sequence, head, query, workspace + i, product);
    }
  }
  if constexpr (!kCfg.is_deterministic) {
    clear_dq<kCfg>(p, workspace);
  }
}

}  // namespace regard::gpu
