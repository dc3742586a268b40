// Where the rows of K or V of one sequence and head lie: side by side, or in pages.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"
#include "tile/copy.cuh"

namespace regard::gpu {

// Of the rows of one operand: of the first key, or of row 0 of page 0.
struct KeyRows {
  const unsigned short* first;
  long long stride;       // of rows
  long long page_stride;  // is_paged
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyRows key_rows(const OperandView& view, const Sequence& sequence, int kv_head) {
  const unsigned short* of_head = view.data + kv_head * view.stride_head;
  if constexpr (kCfg.is_paged) {
    return {of_head, view.stride_seq, view.stride_batch};
  } else {
    return {of_head + sequence.batch * view.stride_batch + sequence.k_begin * view.stride_seq,
            view.stride_seq, 0};
  }
}

// The pages of one sequence.
struct PageTable {
  const int* pages;
  unsigned page_size, start;

  REGARD_DEVICE PageTable(const ProblemParams& p, const Sequence& sequence)
      : pages(p.page_table + sequence.index * p.page_stride),
        page_size(static_cast<unsigned>(p.k_len)),
        start(p.page_starts == nullptr
                  ? 0
                  : static_cast<unsigned>(load_global(p.page_starts + sequence.index))) {}
};

// Where the keys of a step lie, looked up once for all pieces of their rows, of K and of V:
// `places` in shared memory holds page and row in the page of each key.
template <AttnConfig kCfg>
REGARD_DEVICE void find_keys(int* places, const PageTable& table, int first_key, int num_keys) {
  for (int i = thread_in_block(); i < kCfg.block_k && i < num_keys; i += kCfg.num_threads()) {
    const unsigned row = table.start + static_cast<unsigned>(first_key + i);
    const unsigned page = row / table.page_size;
    store_shared(places + 2 * i, load_global(table.pages + page));
    store_shared(places + 2 * i + 1, static_cast<int>(row - page * table.page_size));
  }
}

// Keys first_key .. first_key + block_k to a tile; those from num_keys on become zeros.
template <AttnConfig kCfg, int kCols>
REGARD_DEVICE void load_keys(unsigned short* tile, const KeyRows& rows, const int* places,
                             int first_key, int num_keys, int num_cols) {
  if constexpr (kCfg.is_paged) {
    const auto source = [&](int row) {
      return rows.first + load_shared(places + 2 * row) * rows.page_stride +
             load_shared(places + 2 * row + 1) * rows.stride;
    };
    load_rows<kCfg, kCfg.block_k, kCols>(tile, source, rows.first, {0, num_keys}, num_cols);
  } else {
    load_tile<kCfg, kCfg.block_k, kCols>(tile, rows.first + first_key * rows.stride, rows.stride,
                                         {0, num_keys}, num_cols);
  }
}

}  // namespace regard::gpu
