// Rows of an operand from global memory into a tile of shared memory, by all threads of a block.
#pragma once

#include "attn_config.h"
#include "platform.cuh"

namespace regard::gpu {

// Rows of the tile that exist and are wanted: the others become zero, never what memory holds there
// (a NaN times a weight of zero is NaN).
struct RowRange {
  int begin, end;
};

// A number of columns as a type, for lambdas.
template <int kNumber>
struct Columns {
  static constexpr int kValue = kNumber;
};

// tile [kRows, kCols] with rows kCols + 8 apart; `source` is row 0 of the tile, of which `num_cols`
// elements exist. With kCfg.copies_async the copies are only started.
template <AttnConfig kCfg, int kRows, int kCols>
REGARD_DEVICE void load_tile(unsigned short* tile, const unsigned short* source,
                             long long row_stride, RowRange rows, int num_cols) {
  constexpr int kPieces = kCols / 8;
  REGARD_UNROLL
  for (int i = thread_in_block(); i < kRows * kPieces; i += kCfg.num_threads()) {
    const int row = i / kPieces, col = i % kPieces * 8;
    const bool has_row = row >= rows.begin && row < rows.end;
    unsigned short* to = tile + row * (kCols + 8) + col;
    const unsigned short* from = source + row * row_stride + col;
    if constexpr (!kCfg.is_vectorised) {
      for (int e = 0; e < 8; ++e) {
        const bool is_inside = has_row && col + e < num_cols;
        store_shared(to + e, is_inside ? load_global(from + e) : static_cast<unsigned short>(0));
      }
    } else if constexpr (kCfg.copies_async) {
      const bool is_inside = has_row && col < num_cols;
      async_copy_piece(to, is_inside ? from : source, is_inside);
    } else {
      const bool is_inside = has_row && col < num_cols;
      store_shared_piece(to, is_inside ? load_global_piece(from) : Piece{});
    }
  }
}

// The two halves of waiting for load_tile's copies; nothing where they are not asynchronous.
template <AttnConfig kCfg>
REGARD_DEVICE void close_copies() {
  if constexpr (kCfg.copies_async) {
    async_commit();
  }
}
template <AttnConfig kCfg, int kPending>
REGARD_DEVICE void await_copies() {
  if constexpr (kCfg.copies_async) {
    async_wait<kPending>();
  }
}

}  // namespace regard::gpu
