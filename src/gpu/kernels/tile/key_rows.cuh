// Where the rows of K or V of one sequence and head lie: side by side, or in pages.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

template <AttnConfig kCfg>
struct KeyRows {
  const unsigned short* first;  // of the head: key 0, or row 0 of page 0
  long long stride;             // of rows
  long long page_stride;        // is_paged
  const int* pages;             // of the sequence
  unsigned page_size, start;

  REGARD_DEVICE const unsigned short* operator()(int key) const {
    if constexpr (kCfg.is_paged) {
      const unsigned row = start + static_cast<unsigned>(key);
      const unsigned page = row / page_size;
      return first + load_global(pages + page) * page_stride + (row - page * page_size) * stride;
    } else {
      return first + key * stride;
    }
  }
};

template <AttnConfig kCfg>
REGARD_DEVICE KeyRows<kCfg> key_rows(const ProblemParams& p, const OperandView& view,
                                     const Sequence& sequence, int kv_head) {
  KeyRows<kCfg> rows{};
  rows.first = view.data + kv_head * view.stride_head;
  rows.stride = view.stride_seq;
  if constexpr (kCfg.is_paged) {
    rows.page_stride = view.stride_batch;
    rows.pages = p.page_table + sequence.index * p.page_stride;
    rows.page_size = static_cast<unsigned>(p.k_len);
    rows.start = p.page_starts == nullptr
                     ? 0
                     : static_cast<unsigned>(load_global(p.page_starts + sequence.index));
  } else {
    rows.first += sequence.batch * view.stride_batch + sequence.k_begin * view.stride_seq;
  }
  return rows;
}

}  // namespace regard::gpu
