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

// 16 bytes of a row: zeros where they are not there.
template <AttnConfig kCfg>
REGARD_DEVICE void load_piece(unsigned short* to, const unsigned short* from, bool is_there) {
  if constexpr (kCfg.copies_async) {
    async_copy_piece<kCfg.fetch_bytes>(to, from, is_there);
  } else {
    store_shared_piece(to, is_there ? load_global_piece(from) : Piece{});
  }
}

// tile [kRows, kCols] with rows kCols + 8 apart; `source(row)` is where a row of the tile lies,
// asked only for rows that exist, with `num_cols` elements each. With kCfg.copies_async the copies
// are only started; `any` is some address of the operand then. kIsRare: in little code.
template <AttnConfig kCfg, int kRows, int kCols, bool kIsRare = false, typename Source>
REGARD_DEVICE void load_rows(unsigned short* tile, const Source& source, const unsigned short* any,
                             RowRange rows, int num_cols) {
  constexpr int kPieces = kCols / 8;
  const auto load = [&](int i) {
    const int row = i / kPieces, col = i % kPieces * 8;
    const bool is_inside = row >= rows.begin && row < rows.end && col < num_cols;
    unsigned short* to = tile + row * (kCols + 8) + col;
    const unsigned short* from = is_inside ? source(row) + col : any;
    if constexpr (!kCfg.is_vectorised) {
      for (int e = 0; e < 8; ++e) {
        const bool has_element = is_inside && col + e < num_cols;
        store_shared(to + e, has_element ? load_global(from + e) : static_cast<unsigned short>(0));
      }
    } else {
      load_piece<kCfg>(to, from, is_inside);
    }
  };
  if constexpr (kIsRare) {
    REGARD_UNROLL_1
    for (int i = thread_in_block(); i < kRows * kPieces; i += kCfg.num_threads()) {
      load(i);
    }
  } else {
    REGARD_UNROLL
    for (int i = thread_in_block(); i < kRows * kPieces; i += kCfg.num_threads()) {
      load(i);
    }
  }
}

// The same for rows `row_stride` apart; `source` is row 0 of the tile.
template <AttnConfig kCfg, int kRows, int kCols>
REGARD_DEVICE void load_tile(unsigned short* tile, const unsigned short* source,
                             long long row_stride, RowRange rows, int num_cols) {
  constexpr int kPieces = kCols / 8, kThreads = kCfg.num_threads();
  // Every thread copies the same columns of as many rows: nothing to compute but addresses.
  constexpr bool kIsEven = kThreads % kPieces == 0 && kRows * kPieces % kThreads == 0;
  if constexpr (kCfg.is_vectorised && kIsEven) {
    if (rows.begin <= 0 && rows.end >= kRows && num_cols == kCols) {
      constexpr int kRowsOfPass = kThreads / kPieces;
      const int first_row = thread_in_block() / kPieces, col = thread_in_block() % kPieces * 8;
      unsigned short* to = tile + (first_row * (kCols + 8) + col);
      const unsigned short* from = source + (first_row * row_stride + col);
      REGARD_UNROLL
      for (int pass = 0; pass < kRows / kRowsOfPass; ++pass) {
        load_piece<kCfg>(to + pass * (kRowsOfPass * (kCols + 8)), from, true);
        from += kRowsOfPass * row_stride;
      }
      return;
    }
  }
  load_rows<kCfg, kRows, kCols, kCfg.is_vectorised && kIsEven>(
      tile, [&](int row) { return source + row * row_stride; }, source, rows, num_cols);
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
