// Reading a BlockMaskView: the listed key blocks of one query row.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

// Listed key blocks of one block row, ascending.
struct BlockRow {
  const int32_t* columns = nullptr;
  const uint8_t* is_full = nullptr;
  int32_t count = 0;

  // Index of the first listed block at or after `column`; count when there is none.
  constexpr int32_t lower_bound(int64_t column) const {
    int32_t lo = 0;
    int32_t hi = count;
    while (lo < hi) {
      const int32_t middle = lo + (hi - lo) / 2;
      if (columns[middle] < column) {
        lo = middle + 1;
      } else {
        hi = middle;
      }
    }
    return lo;
  }
  constexpr bool lists(int64_t column) const {
    const int32_t at = lower_bound(column);
    return at < count && columns[at] == column;
  }
};

// The row of the mask of (batch, head) that holds `query`, counted over the whole batch row.
constexpr BlockRow block_row_at(const BlockMaskView& mask, int64_t batch, int64_t head,
                                int64_t query) {
  const int64_t row =
      (batch * mask.stride_batch + head * mask.stride_head) * mask.num_rows + query / mask.block_q;
  const int32_t begin = mask.row_offsets[row];
  return {mask.columns + begin, mask.is_full != nullptr ? mask.is_full + begin : nullptr,
          mask.row_offsets[row + 1] - begin};
}

// Whether the pair is listed; query and key count over the whole batch row.
constexpr bool block_mask_lists(const BlockMaskView& mask, int64_t batch, int64_t head,
                                int64_t query, int64_t key) {
  return block_row_at(mask, batch, head, query).lists(key / mask.block_k);
}

}  // namespace regard::core
