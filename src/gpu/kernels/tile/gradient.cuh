// What the backward's kernels share: where rows of the workspace lie, how gradients are written.
#pragma once

#include "attn_bwd_layout.h"
#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

// Row of the workspace (row_lse, row_delta, and dq_sum in units of head_dim) of the first query of
// a head. Packed sequences, rounded down, still never share a group: each has one more than it
// fills. With lengths of their own they may come in any order, and each has room for all rows.
template <AttnConfig kCfg>
REGARD_DEVICE long long workspace_row(const AttnBwdParams& p, const Sequence& sequence, int head) {
  const long long group = kCfg.is_packed && !kCfg.has_lengths
                              ? sequence.q_begin / kRowGroup + sequence.index
                              : sequence.index * p.sequence_row_groups;
  return (head * p.num_row_groups + group) * kRowGroup;
}

// Element (row, 0) of a gradient.
struct GradientRow {
  void* data;
  GradientFormat format;
  bool is_whole;
};
REGARD_DEVICE GradientRow gradient_row(const GradientView& view, int batch, long long row,
                                       int head) {
  const long long element =
      batch * view.stride_batch + row * view.stride_seq + head * view.stride_head;
  const int num_bytes = view.format == GradientFormat::f32 ? 4 : 2;
  return {static_cast<char*>(view.data) + element * num_bytes, view.format, view.is_whole != 0};
}

struct alignas(16) Quad {
  float value[4];
};

struct alignas(8) FloatPair {
  float low, high;
};

// One element of a row, in the row's format.
REGARD_DEVICE void store_element(const GradientRow& row, int col, float value) {
  if (row.format == GradientFormat::f32) {
    store_global(static_cast<float*>(row.data) + col, value);
  } else {
    const unsigned bits =
        row.format == GradientFormat::bf16 ? pack<true>(value, 0.0f) : pack<false>(value, 0.0f);
    store_global(static_cast<unsigned short*>(row.data) + col, static_cast<unsigned short>(bits));
  }
}

// Columns `col` (even) and the next, as far as there are `num_cols`. kFormat: the row's format,
// where rows are paired and `num_cols` is even.
template <GradientFormat kFormat>
REGARD_DEVICE void store_pair_as(const GradientRow& row, int col, int num_cols, float low,
                                 float high) {
  if (col >= num_cols) {
    return;
  }
  if constexpr (kFormat == GradientFormat::f32) {
    store_global(reinterpret_cast<FloatPair*>(static_cast<float*>(row.data) + col),
                 FloatPair{low, high});
  } else {
    store_global(reinterpret_cast<unsigned*>(static_cast<unsigned short*>(row.data) + col),
                 pack<kFormat == GradientFormat::bf16>(low, high));
  }
}
REGARD_DEVICE void store_pair_apart(const GradientRow& row, int col, int num_cols, float low,
                                    float high) {
  if (col < num_cols) {
    store_element(row, col, low);
  }
  if (col + 1 < num_cols) {
    store_element(row, col + 1, high);
  }
}

// A format as a type, for lambdas.
template <GradientFormat kFormat>
struct PairStore {
  REGARD_DEVICE void operator()(const GradientRow& row, int col, int num_cols, float low,
                                float high) const {
    store_pair_as<kFormat>(row, col, num_cols, low, high);
  }
};
struct ApartStore {
  REGARD_DEVICE void operator()(const GradientRow& row, int col, int num_cols, float low,
                                float high) const {
    store_pair_apart(row, col, num_cols, low, high);
  }
};

// Calls `write(store)` with what stores pairs of this view: one branch for all of them.
template <typename Write>
REGARD_DEVICE void with_store(const GradientView& view, int num_cols, const Write& write) {
  if (view.is_paired == 0 || num_cols % 2 != 0) {
    write(ApartStore{});
  } else if (view.format == GradientFormat::f32) {
    write(PairStore<GradientFormat::f32>{});
  } else if (view.format == GradientFormat::bf16) {
    write(PairStore<GradientFormat::bf16>{});
  } else {
    write(PairStore<GradientFormat::f16>{});
  }
}

// Columns `col` (a multiple of 8) to col + 7.
REGARD_DEVICE void store_gradients(const GradientRow& row, int col, int num_cols,
                                   const float (&values)[8]) {
  if (!row.is_whole || col + 8 > num_cols) {
    REGARD_UNROLL
    for (int i = 0; i < 8; i += 2) {
      store_pair_apart(row, col + i, num_cols, values[i], values[i + 1]);
    }
  } else if (row.format == GradientFormat::f32) {
    Quad* to = reinterpret_cast<Quad*>(static_cast<float*>(row.data) + col);
    store_global(to, Quad{{values[0], values[1], values[2], values[3]}});
    store_global(to + 1, Quad{{values[4], values[5], values[6], values[7]}});
  } else {
    Piece piece;
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      piece.word[i] = row.format == GradientFormat::bf16
                          ? pack<true>(values[2 * i], values[2 * i + 1])
                          : pack<false>(values[2 * i], values[2 * i + 1]);
    }
    store_global(reinterpret_cast<Piece*>(static_cast<unsigned short*>(row.data) + col), piece);
  }
}

}  // namespace regard::gpu
