#include "cpu/block_cover.h"

#include <algorithm>

#include "core/block_mask.h"

namespace regard::cpu {
namespace {

// Calls visit(row of the block mask) for every block row that a row of the tile lies in.
template <class Visit>
void for_each_block_row(const Problem& problem, const Unit& unit, const RowTile& tile,
                        const Visit& visit) {
  const BlockMaskView& mask = problem.block_mask;
  const core::Sequence& sequence = unit.sequence;
  const int64_t first = sequence.q_begin + unit.query_of(tile.first_row);
  const int64_t last = sequence.q_begin + unit.query_of(tile.first_row + tile.num_rows - 1);
  const int64_t num_heads = mask.stride_head == 0 ? 1 : unit.group;
  for (int64_t head = 0; head < num_heads; ++head) {
    for (int64_t row = first / mask.block_q; row <= last / mask.block_q; ++row) {
      visit(core::block_row_at(mask, sequence.batch, unit.kv_head * unit.group + head,
                               row * mask.block_q));
    }
  }
}

// The listed columns among [begin, end).
struct Listed {
  int64_t first = 0, last = -1;  // empty: last < first
  int64_t count = 0;
  bool is_full = true;
};

Listed listed_columns(const core::BlockRow& row, int64_t begin, int64_t end) {
  Listed listed;
  for (int32_t i = row.lower_bound(begin); i < row.count && row.columns[i] < end; ++i) {
    if (listed.count == 0) {
      listed.first = row.columns[i];
    }
    listed.last = row.columns[i];
    listed.count += 1;
    listed.is_full = listed.is_full && row.is_full != nullptr && row.is_full[i] != 0;
  }
  return listed;
}

}  // namespace

void apply_cover(const Problem& problem, const Unit& unit, const RowTile& tile, KeyBlock& block) {
  if (block.lo >= block.hi) {
    block.cover = Cover::none;
    return;
  }
  const int64_t block_k = problem.block_mask.block_k;
  const int64_t k_begin = unit.sequence.k_begin;
  const int64_t begin = (k_begin + block.lo) / block_k;
  const int64_t end = (k_begin + block.hi - 1) / block_k + 1;
  int64_t first = end;
  int64_t last = begin - 1;
  bool is_listed = true;
  bool is_full = true;
  for_each_block_row(problem, unit, tile, [&](const core::BlockRow& row) {
    const Listed listed = listed_columns(row, begin, end);
    is_listed = is_listed && listed.count == end - begin;
    is_full = is_full && listed.is_full;
    if (listed.count > 0) {
      first = std::min(first, listed.first);
      last = std::max(last, listed.last);
    }
  });
  if (last < first) {
    block.hi = block.lo;
    block.cover = Cover::none;
    return;
  }
  block.lo = std::max(block.lo, first * block_k - k_begin);
  block.hi = std::min(block.hi, (last + 1) * block_k - k_begin);
  block.cover = !is_listed ? Cover::some : is_full ? Cover::full : Cover::listed;
}

int64_t listed_keys(const Problem& problem, const Unit& unit, const RowTile& tile) {
  int64_t most = 0;
  for_each_block_row(problem, unit, tile,
                     [&](const core::BlockRow& row) { most = std::max<int64_t>(most, row.count); });
  return most * problem.block_mask.block_k;
}

}  // namespace regard::cpu
