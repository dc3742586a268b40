// Products of tiles in shared memory without the matrix unit. A warp's lanes form 4 rows of 8; a
// lane owns kRows rows of the warp's part and, of every 32 columns of the other side, 4 neighbours.
//
// Where a row lies: each lane's rows are neighbours (row * kRows ..), but in shared memory the
// first rows of the 4 lanes come first, then their second ones: the lanes of a load then read
// neighbours. Rows of the other side are laid out likewise, 32 at a time.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "simt_layout.h"
#include "tile/copy.cuh"
#include "tile/elements.cuh"
#include "tile/key_rows.cuh"

namespace regard::gpu {

struct alignas(16) Float4 {
  float value[4];
};
REGARD_DEVICE Float4 load_shared4(const float* from) {
  return load_shared(reinterpret_cast<const Float4*>(from));
}
REGARD_DEVICE void store_shared4(float* to, const Float4& values) {
  store_shared(reinterpret_cast<Float4*>(to), values);
}

REGARD_DEVICE int lane_row() { return thread_in_block() % 32 / 8; }
REGARD_DEVICE int lane_col() { return thread_in_block() % 8; }

// First row of the block that this lane owns; it owns kRows from there.
template <int kRows>
REGARD_DEVICE int first_own_row() {
  return (thread_in_block() / 32 * 4 + lane_row()) * kRows;
}
// First of the 4 columns (rows of the other side) that this lane owns of each 32.
REGARD_DEVICE int first_other_row() { return lane_col() * 4; }

// Where the rows of the block lie in shared memory.
template <int kRows>
struct OwnOrder {
  REGARD_DEVICE static int place(int row) {
    return row / (4 * kRows) * (4 * kRows) + row % kRows * 4 + row / kRows % 4;
  }
  // Of this lane's first row; its others follow 4 apart.
  REGARD_DEVICE static int first_place() {
    return thread_in_block() / 32 * (4 * kRows) + lane_row();
  }
};
struct OtherOrder {
  REGARD_DEVICE static int place(int row) { return row / 32 * 32 + row % 4 * 8 + row / 4 % 8; }
};

// sums[i][j] += a_i . b_j over kDepth columns: `a` is this lane's first own row, `b` the stage.
template <int kRows, int kCols, int kDepth, int kStrideA, int kStrideB>
REGARD_DEVICE void add_dot_products(float (&sums)[kRows][kCols], const float* a, const float* b) {
  b += lane_col() * kStrideB;
  REGARD_UNROLL_2
  for (int d = 0; d < kDepth; d += 4) {
    Float4 right[kCols];
    REGARD_UNROLL
    for (int j = 0; j < kCols; ++j) {  // place of column j / 4 * 32 + j % 4 of this lane's
      right[j] = load_shared4(b + (j / 4 * 32 + j % 4 * 8) * kStrideB + d);
    }
    REGARD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const Float4 left = load_shared4(a + i * 4 * kStrideA + d);
      REGARD_UNROLL
      for (int j = 0; j < kCols; ++j) {
        REGARD_UNROLL
        for (int e = 0; e < 4; ++e) {
          sums[i][j] += left.value[e] * right[j].value[e];
        }
      }
    }
  }
}

// sums[i][:] += sum over rows r of the stage of tile[i][r] * stage[r][:]: `tile` is this lane's
// first own row. Of every 32 columns of the stage a lane has 4 neighbours.
template <int kRows, int kColumns, int kOtherRows, int kTileStride, int kStageStride>
REGARD_DEVICE void add_weighted_rows(float (&sums)[kRows][kColumns / 8], const float* tile,
                                     const float* stage) {
  stage += lane_col() * 4;
  REGARD_UNROLL_1
  for (int j = 0; j < kOtherRows; j += 32) {
    REGARD_UNROLL_2
    for (int t = 0; t < 8; ++t) {
      Float4 weights[kRows];
      REGARD_UNROLL
      for (int i = 0; i < kRows; ++i) {
        weights[i] = load_shared4(tile + i * 4 * kTileStride + j + t * 4);
      }
      REGARD_UNROLL
      for (int c = 0; c < 4; ++c) {  // row j + 4 t + c
        Float4 row[kColumns / 32];
        REGARD_UNROLL
        for (int n = 0; n < kColumns / 32; ++n) {
          row[n] = load_shared4(stage + (j + c * 8 + t) * kStageStride + n * 32);
        }
        REGARD_UNROLL
        for (int i = 0; i < kRows; ++i) {
          REGARD_UNROLL
          for (int n = 0; n < kColumns / 8; ++n) {
            sums[i][n] += weights[i].value[c] * row[n / 4].value[n % 4];
          }
        }
      }
    }
  }
}

// This lane's part of a tile [own rows][other rows] into shared memory.
template <int kRows, int kCols, int kTileStride>
REGARD_DEVICE void store_tile(float* tile, const float (&values)[kRows][kCols]) {
  REGARD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    REGARD_UNROLL
    for (int j = 0; j < kCols; j += 4) {
      store_shared4(tile + i * 4 * kTileStride + j * 8 + first_other_row(),
                    {{values[i][j], values[i][j + 1], values[i][j + 2], values[i][j + 3]}});
    }
  }
}

// Over the 8 lanes that share their rows.
REGARD_DEVICE float max_of_row(float x) {
  x = maximum(x, shuffle_xor(x, 1));
  x = maximum(x, shuffle_xor(x, 2));
  return maximum(x, shuffle_xor(x, 4));
}
REGARD_DEVICE float sum_of_row(float x) {
  x += shuffle_xor(x, 1);
  x += shuffle_xor(x, 2);
  return x + shuffle_xor(x, 4);
}

// Where row `row` of the whole batch row of an operand lies.
template <AttnConfig kCfg>
REGARD_DEVICE const unsigned short* row_at(const OperandView& view, int batch, long long row,
                                           int head) {
  return element_at<kCfg.element>(
      view.data, batch * view.stride_batch + row * view.stride_seq + head * view.stride_head);
}

// Where key `key` of a sequence lies, in pages or not.
template <AttnConfig kCfg>
REGARD_DEVICE const unsigned short* key_at(const ProblemParams& p, const OperandView& view,
                                           const Sequence& sequence, int kv_head, int key) {
  if constexpr (kCfg.is_paged) {
    const PageTable table(p, sequence);
    const unsigned row = table.start + static_cast<unsigned>(key);
    const int page = load_global(table.pages + row / table.page_size);
    return row_at<kCfg>(view, page, row % table.page_size, kv_head);
  } else {
    return row_at<kCfg>(view, sequence.batch, sequence.k_begin + static_cast<long long>(key),
                        kv_head);
  }
}

// Columns first_col .. first_col + kColumns of kNumRows rows into shared memory, rows kStride
// apart, each at its place in Order. row_of(row) is where a row lies, null for zeros; columns from
// num_cols on become zero. With copies_async (f32) the copies are only started.
template <AttnConfig kCfg, class Order, int kNumRows, int kColumns, int kStride, class RowOf>
REGARD_DEVICE void load_f32_rows(float* to, const unsigned short* data, const RowOf& row_of,
                                 int first_col, int num_cols) {
  constexpr Element kElement = kCfg.element;
  constexpr int kElements = kCfg.is_vectorised ? kElementsOfPiece<kElement> : 4;
  constexpr int kPieces = kColumns / kElements;
  for (int piece = thread_in_block(); piece < kNumRows * kPieces; piece += kCfg.num_threads()) {
    const int row = piece / kPieces, col = piece % kPieces * kElements;
    const unsigned short* from = row_of(row);
    const int num_left = from == nullptr ? 0 : num_cols - first_col - col;
    from = num_left > 0 ? element_at<kElement>(from, first_col + col) : data;
    float* target = to + Order::place(row) * kStride + col;
    if constexpr (!kCfg.is_vectorised) {
      Float4 values;
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        values.value[e] = e < num_left ? load_element<kElement>(from, e) : 0.0f;
      }
      store_shared4(target, values);
    } else if constexpr (kCfg.copies_async) {
      async_copy_piece(reinterpret_cast<unsigned short*>(target), from, num_left > 0);
    } else {
      const Piece values = num_left > 0 ? load_global_piece(from) : Piece{};
      REGARD_UNROLL
      for (int e = 0; e < kElements; e += 4) {
        store_shared4(target + e, {{element_of_piece<kElement>(values, e),
                                    element_of_piece<kElement>(values, e + 1),
                                    element_of_piece<kElement>(values, e + 2),
                                    element_of_piece<kElement>(values, e + 3)}});
      }
    }
  }
  close_copies<kCfg>();
}

// The two stages: one is multiplied while the other is filled.
struct Stages {
  float *current, *next;

  // What was requested last is here for all threads, and its predecessor may be overwritten.
  template <AttnConfig kCfg>
  REGARD_DEVICE void advance() {
    await_copies<kCfg, 0>();
    block_barrier();
    float* const filled = next;
    next = current;
    current = filled;
  }
};

// Four neighbouring columns of a row of a result.
template <AttnConfig kCfg>
REGARD_DEVICE void store_four(void* data, Element format, long long element, int num_cols,
                              const Float4& values) {
  if (format == Element::f32) {
    auto* to = static_cast<float*>(data) + element;
    if constexpr (kCfg.is_vectorised) {
      if (num_cols > 0) {
        store_global(reinterpret_cast<Float4*>(to), values);
      }
    } else {
      REGARD_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (e < num_cols) {
          store_global(to + e, values.value[e]);
        }
      }
    }
    return;
  }
  auto* to = static_cast<unsigned short*>(data) + element;
  const bool is_bf16 = format == Element::bf16;
  REGARD_UNROLL
  for (int e = 0; e < 4; e += 2) {
    const float low = values.value[e], high = values.value[e + 1];
    const unsigned pair = is_bf16 ? pack<true>(low, high) : pack<false>(low, high);
    if constexpr (kCfg.is_vectorised) {
      if (e < num_cols) {
        store_global(reinterpret_cast<unsigned*>(to + e), pair);
      }
    } else {
      if (e < num_cols) {
        store_global(to + e, static_cast<unsigned short>(pair));
      }
      if (e + 1 < num_cols) {
        store_global(to + e + 1, static_cast<unsigned short>(pair >> 16));
      }
    }
  }
}

}  // namespace regard::gpu
