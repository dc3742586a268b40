#include "cpu/tile_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/mask.h"

namespace regard::cpu {
namespace {

Problem square_problem(int64_t length, int64_t heads, int64_t kv_heads) {
  Problem problem;
  problem.q.batch = problem.k.batch = 1;
  problem.q.seq = problem.k.seq = length;
  problem.q.heads = heads;
  problem.k.heads = kv_heads;
  return problem;
}

struct Counts {
  int64_t full = 0, partial = 0, scores = 0;
};

// Visited blocks of all row tiles, and scores inside their trimmed key ranges.
Counts count_blocks(const Problem& problem) {
  Counts counts;
  for (const Unit& unit : units_of(problem)) {
    for (int64_t idx = 0; idx < unit.num_tiles(); ++idx) {
      const RowTile tile = row_tile_at(problem, unit, idx);
      for (int64_t b = tile.first_block(); b < tile.end_block(); ++b) {
        const KeyBlock block = key_block_at(tile, b);
        (block.is_full ? counts.full : counts.partial) += 1;
        counts.scores += (block.hi - block.lo) * tile.num_rows;
      }
    }
  }
  return counts;
}

TEST(TilePlan, NoMask_VisitsEveryBlockAsFull) {
  const Counts counts = count_blocks(square_problem(kBlockK * 8, 1, 1));
  EXPECT_EQ(counts.full, 16 * 8);
  EXPECT_EQ(counts.partial, 0);
}

TEST(TilePlan, Causal_SkipsEmptyBlocksAndMasksOnlyTheDiagonal) {
  Problem problem = square_problem(kBlockK * 8, 1, 1);
  problem.causal = Causal::lower_right;
  const Counts counts = count_blocks(problem);
  // Two row tiles a key block: tile i sees i / 2 whole blocks and one on the diagonal.
  EXPECT_EQ(counts.full, 2 * (0 + 1 + 2 + 3 + 4 + 5 + 6 + 7));
  EXPECT_EQ(counts.partial, 16);
  EXPECT_EQ(counts.scores, kBlockQ * kBlockQ * (16 * 17 / 2));
}

TEST(TilePlan, Window_VisitsBlocksOfTheBandOnly) {
  Problem problem = square_problem(kBlockK * 50, 1, 1);
  problem.causal = Causal::lower_right;
  problem.window.left = kBlockK - 1;
  const Counts counts = count_blocks(problem);
  EXPECT_EQ(counts.full, 0);
  EXPECT_LE(counts.partial, 100 * 3);
  EXPECT_LE(counts.scores, 100 * kBlockQ * (kBlockK + kBlockQ));
}

TEST(TilePlan, Documents_NeverMeet) {
  Problem problem = square_problem(1000, 6, 2);
  const int32_t offsets[] = {0, 300, 300, 1000};
  problem.documents = {offsets, offsets, 3};
  const std::vector<Unit> units = units_of(problem);
  ASSERT_EQ(units.size(), 6u);
  EXPECT_EQ(units[0].num_rows, 900);
  EXPECT_EQ(units[2].num_tiles(), 0);
  EXPECT_EQ(units[2].num_blocks(), 0);
  EXPECT_EQ(units[4].sequence.k_begin, 300);
  EXPECT_EQ(units[5].head_of(4), 4);
  EXPECT_EQ(units[5].query_of(4), 1);
}

// A block mask of the lower triangle, three row tiles and one and a half key blocks each way.
TEST(TilePlan, BlockMask_SkipsUnlistedBlocksAndTrimsTheOthers) {
  Problem problem = square_problem(kBlockK * 3, 2, 1);
  const int32_t row_offsets[] = {0, 1, 3};
  const int32_t columns[] = {0, 0, 1};
  const uint8_t is_full[] = {1, 1, 0};
  problem.block_mask = {.row_offsets = row_offsets,
                        .columns = columns,
                        .is_full = is_full,
                        .block_q = static_cast<int32_t>(kBlockQ * 3),
                        .block_k = static_cast<int32_t>(kBlockK * 3 / 2),
                        .num_rows = 2};
  const Unit unit = units_of(problem).front();
  const auto block_of = [&](int64_t tile_idx, int64_t block) {
    return key_block_at(problem, unit, row_tile_at(problem, unit, tile_idx), block);
  };
  // Tiles 0 to 5 hold the first row of blocks (two heads a query), 6 to 11 the second.
  EXPECT_EQ(block_of(0, 0).cover, Cover::full);
  EXPECT_EQ(block_of(5, 1).cover, Cover::some);
  EXPECT_EQ(block_of(5, 1).hi, kBlockK * 3 / 2);
  EXPECT_EQ(block_of(5, 2).cover, Cover::none);
  EXPECT_EQ(block_of(6, 0).cover, Cover::full);
  EXPECT_EQ(block_of(6, 1).cover, Cover::listed);
  EXPECT_EQ(block_of(11, 2).cover, Cover::listed);
}

// Every key interval, block by block, against the definition.
TEST(TilePlan, BlocksOfAnyMask_CoverExactlyTheKeysRowsSee) {
  for (const Causal causal : {Causal::none, Causal::upper_left, Causal::lower_right}) {
    for (const Window window : {Window{}, Window{50, 0}, Window{0, 70}, Window{300, 20}}) {
      Problem problem = square_problem(333, 2, 1);
      problem.q.seq = 211;
      problem.causal = causal;
      problem.window = window;
      const Unit unit = units_of(problem).front();
      for (int64_t idx = 0; idx < unit.num_tiles(); ++idx) {
        const RowTile tile = row_tile_at(problem, unit, idx);
        for (int64_t row = 0; row < tile.num_rows; ++row) {
          const core::KeyInterval keys =
              core::key_interval(problem, unit.sequence, unit.head_of(tile.first_row + row),
                                 unit.query_of(tile.first_row + row));
          for (int64_t key = 0; key < 333; ++key) {
            const int64_t b = key / kBlockK;
            const bool is_visited = b >= tile.first_block() && b < tile.end_block();
            const KeyBlock block = key_block_at(tile, b);
            const bool is_inside = is_visited && key >= block.lo && key < block.hi;
            ASSERT_TRUE(!keys.contains(key) || is_inside) << row << " " << key;
            ASSERT_TRUE(!is_inside || !block.is_full || keys.contains(key)) << row << " " << key;
          }
        }
      }
    }
  }
}

TEST(TilePlan, KeyBlocksOfABackward_AscendWithinAUnitLongestUnitFirst) {
  Problem problem = square_problem(1000, 2, 2);
  const int32_t offsets[] = {0, 200, 1000};
  problem.documents = {offsets, offsets, 2};
  problem.causal = Causal::lower_right;
  const std::vector<Unit> units = units_of(problem);
  std::vector<size_t> first_tile;
  std::vector<RowTile> tiles;
  for (const Unit& unit : units) {
    first_tile.push_back(tiles.size());
    for (int64_t idx = 0; idx < unit.num_tiles(); ++idx) {
      tiles.push_back(row_tile_at(problem, unit, idx));
    }
  }
  const std::vector<UnitPart> blocks =
      blocks_longest_chain_first(units, {0, units.size()}, first_tile, tiles);
  ASSERT_EQ(blocks.size(), 2u * 2 + 2 * 5);
  EXPECT_EQ(units[blocks[0].unit].sequence.k_len, 800);
  std::vector<int64_t> next(units.size(), 0);
  for (const UnitPart& block : blocks) {
    EXPECT_EQ(block.part, next[block.unit]++);
  }
}

TEST(TilePlan, Waves_KeepToTheBudgetAndTakeEveryUnitOnce) {
  const std::vector<size_t> floats = {5, 5, 5, 20, 1, 1};
  const std::vector<Wave> waves = waves_of(floats, 10);
  ASSERT_EQ(waves.size(), 4u);
  EXPECT_EQ(waves[0].end, 2u);
  EXPECT_EQ(waves[2].begin, 3u);
  EXPECT_EQ(waves[2].end, 4u);  // larger than the budget: alone
  EXPECT_EQ(waves[3].end, 6u);
  EXPECT_EQ(largest_wave(waves, floats), 20u);
}

}  // namespace
}  // namespace regard::cpu
