#include "cpu/tile_plan.h"

#include <algorithm>

#include "cpu/block_cover.h"

namespace regard::cpu {

std::vector<Unit> units_of(const Problem& problem) {
  std::vector<Unit> units;
  const int64_t group = problem.k.heads > 0 ? problem.q.heads / problem.k.heads : 0;
  if (group == 0) {
    return units;
  }
  const int64_t num_sequences = core::num_sequences(problem);
  units.reserve(static_cast<size_t>(num_sequences * problem.k.heads));
  for (int64_t index = 0; index < num_sequences; ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    for (int64_t kv_head = 0; kv_head < problem.k.heads; ++kv_head) {
      units.push_back({.sequence = sequence,
                       .kv_head = kv_head,
                       .group = group,
                       .num_rows = sequence.q_len * group});
    }
  }
  return units;
}

RowTile row_tile_at(const Problem& problem, const Unit& unit, int64_t tile_idx) {
  RowTile tile;
  tile.first_row = tile_idx * kBlockQ;
  tile.num_rows = std::min(kBlockQ, unit.num_rows - tile.first_row);
  tile.live = {unit.sequence.k_len, 0};
  tile.full = {0, unit.sequence.k_len};
  for (int64_t row = 0; row < kBlockQ; ++row) {
    core::KeyInterval keys;
    if (row < tile.num_rows) {
      const int64_t query = unit.query_of(tile.first_row + row);
      keys = core::key_interval(problem, unit.sequence, unit.head_of(tile.first_row + row), query);
      tile.full.lo = std::max(tile.full.lo, keys.lo);
      tile.full.hi = std::min(tile.full.hi, keys.hi);
    }
    if (!keys.is_empty()) {
      tile.live.lo = std::min(tile.live.lo, keys.lo);
      tile.live.hi = std::max(tile.live.hi, keys.hi);
    }
    tile.lo[row] = static_cast<int32_t>(keys.lo);
    tile.hi[row] = static_cast<int32_t>(keys.hi);
  }
  if (tile.live.is_empty()) {
    tile.live = {};
  }
  return tile;
}

KeyBlock key_block_at(const RowTile& tile, int64_t block_idx) {
  KeyBlock block;
  block.base = block_idx * kBlockK;
  block.lo = std::max(block.base, tile.live.lo);
  block.hi = std::max(block.lo, std::min(block.base + kBlockK, tile.live.hi));
  block.is_full = block.lo >= tile.full.lo && block.hi <= tile.full.hi;
  return block;
}

KeyBlock key_block_at(const Problem& problem, const Unit& unit, const RowTile& tile,
                      int64_t block_idx) {
  KeyBlock block = key_block_at(tile, block_idx);
  if (has_block_mask(problem)) {
    apply_cover(problem, unit, tile, block);
  }
  return block;
}

core::KeyInterval keys_of_rows(const RowTile& tile, const KeyBlock& block, int64_t row_begin,
                               int64_t row_end) {
  core::KeyInterval keys{block.hi, block.lo};
  for (int64_t row = row_begin; row < std::min(row_end, tile.num_rows); ++row) {
    if (tile.lo[row] < tile.hi[row]) {
      keys.lo = std::min<int64_t>(keys.lo, tile.lo[row]);
      keys.hi = std::max<int64_t>(keys.hi, tile.hi[row]);
    }
  }
  keys.lo = std::max(keys.lo, block.lo);
  keys.hi = std::min(keys.hi, block.hi);
  return keys.is_empty() ? core::KeyInterval{block.lo, block.lo} : keys;
}

core::KeyInterval rows_of_keys(const RowTile& tile, int64_t key_begin, int64_t key_end) {
  core::KeyInterval rows{tile.num_rows, 0};
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    if (std::max<int64_t>(tile.lo[row], key_begin) < std::min<int64_t>(tile.hi[row], key_end)) {
      rows.lo = std::min(rows.lo, row);
      rows.hi = row + 1;
    }
  }
  return rows.is_empty() ? core::KeyInterval{} : rows;
}

std::vector<Wave> waves_of(const std::vector<size_t>& floats_of_unit, size_t budget) {
  std::vector<Wave> waves;
  size_t floats = 0;
  for (size_t unit = 0; unit < floats_of_unit.size(); ++unit) {
    if (waves.empty() || floats + floats_of_unit[unit] > budget) {
      waves.push_back({unit, unit});
      floats = 0;
    }
    floats += floats_of_unit[unit];
    waves.back().end = unit + 1;
  }
  return waves;
}

size_t largest_wave(const std::vector<Wave>& waves, const std::vector<size_t>& floats_of_unit) {
  size_t largest = 0;
  for (const Wave& wave : waves) {
    size_t floats = 0;
    for (size_t unit = wave.begin; unit < wave.end; ++unit) {
      floats += floats_of_unit[unit];
    }
    largest = std::max(largest, floats);
  }
  return largest;
}

std::vector<UnitPart> blocks_of(const std::vector<Unit>& units, const Wave& wave) {
  std::vector<UnitPart> blocks;
  for (size_t unit = wave.begin; unit < wave.end; ++unit) {
    for (int64_t block = 0; block < units[unit].num_blocks(); ++block) {
      blocks.push_back({unit, block});
    }
  }
  return blocks;
}

std::vector<UnitPart> tiles_longest_first(const Problem& problem, const std::vector<Unit>& units,
                                          const Wave& wave) {
  struct Costed {
    UnitPart tile;
    int64_t cost;
  };
  std::vector<Costed> costed;
  for (size_t unit = wave.begin; unit < wave.end; ++unit) {
    for (int64_t idx = 0; idx < units[unit].num_tiles(); ++idx) {
      const RowTile tile = row_tile_at(problem, units[unit], idx);
      int64_t num_keys = tile.live.hi - tile.live.lo;
      if (has_block_mask(problem)) {
        num_keys = std::min(num_keys, listed_keys(problem, units[unit], tile));
      }
      costed.push_back({{unit, idx}, num_keys * tile.num_rows});
    }
  }
  std::stable_sort(costed.begin(), costed.end(),
                   [](const Costed& a, const Costed& b) { return a.cost > b.cost; });
  std::vector<UnitPart> tiles;
  tiles.reserve(costed.size());
  for (const Costed& entry : costed) {
    tiles.push_back(entry.tile);
  }
  return tiles;
}

std::vector<UnitPart> blocks_longest_chain_first(const std::vector<Unit>& units, const Wave& wave,
                                                 const std::vector<size_t>& first_tile,
                                                 const std::vector<RowTile>& tiles) {
  struct Costed {
    UnitPart block;
    int64_t remaining;  // cost of this block and its followers in the unit
  };
  std::vector<Costed> costed;
  for (size_t unit = wave.begin; unit < wave.end; ++unit) {
    std::vector<int64_t> cost(static_cast<size_t>(units[unit].num_blocks()), 1);
    for (int64_t idx = 0; idx < units[unit].num_tiles(); ++idx) {
      const RowTile& tile = tiles[first_tile[unit] + static_cast<size_t>(idx)];
      for (int64_t block = tile.first_block(); block < tile.end_block(); ++block) {
        cost[static_cast<size_t>(block)] += tile.num_rows;
      }
    }
    int64_t remaining = 0;
    for (int64_t block = units[unit].num_blocks() - 1; block >= 0; --block) {
      remaining += cost[static_cast<size_t>(block)];
      costed.push_back({{unit, block}, remaining});
    }
  }
  // `remaining` falls strictly along a unit's blocks, so sorting keeps them ascending.
  std::stable_sort(costed.begin(), costed.end(),
                   [](const Costed& a, const Costed& b) { return a.remaining > b.remaining; });
  std::vector<UnitPart> blocks;
  blocks.reserve(costed.size());
  for (const Costed& entry : costed) {
    blocks.push_back(entry.block);
  }
  return blocks;
}

}  // namespace regard::cpu
