// How a Problem is cut: units (sequence, key/value head), row tiles of a unit, key blocks of a
// tile. Nothing here depends on the number of threads, so results cannot either.
//
// Rows     The query heads that share a key/value head are merged: row = query * group + head in
//          group. Neighbouring rows see nearly the same keys, K and V are packed once for all heads
//          of the group, and a decode step (one query) still fills a vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/mask.h"
#include "core/sequences.h"
#include "regard/problem.h"

namespace regard::cpu {

// 96 rows = 6 x 16 = 3 x 32 lanes = 16 x 6 = 8 x 12 microkernel rows on AVX2 / AVX-512; with 192
// keys one f32 tile of scores is 72 KiB and stays in the second-level cache (512 KiB and up).
inline constexpr int64_t kBlockQ = 96;
inline constexpr int64_t kBlockK = 192;

// What shares packed keys and values.
struct Unit {
  core::Sequence sequence;
  int64_t kv_head = 0;
  int64_t group = 1;     // query heads of this key/value head
  int64_t num_rows = 0;  // sequence.q_len * group

  int64_t num_tiles() const { return (num_rows + kBlockQ - 1) / kBlockQ; }
  int64_t num_blocks() const { return (sequence.k_len + kBlockK - 1) / kBlockK; }
  int64_t query_of(int64_t row) const { return row / group; }
  int64_t head_of(int64_t row) const { return kv_head * group + row % group; }
};

std::vector<Unit> units_of(const Problem& problem);

// Up to kBlockQ rows with the keys each may see, [lo, hi) counted from the sequence's first key.
struct RowTile {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  core::KeyInterval live;            // every key some row sees lies in here
  core::KeyInterval full;            // every row sees every key of this
  int32_t lo[kBlockQ], hi[kBlockQ];  // rows past num_rows: {0, 0}

  int64_t first_block() const { return live.lo / kBlockK; }
  int64_t end_block() const {
    return live.is_empty() ? first_block() : (live.hi - 1) / kBlockK + 1;
  }
};

RowTile row_tile_at(const Problem& problem, const Unit& unit, int64_t tile_idx);

// What the problem's block mask leaves of a tile's pairs with one key block: nothing, some, all of
// them, or all without asking the mask program. Without a block mask all are listed.
enum class Cover : uint8_t { none, some, listed, full };

// Keys [lo, hi) of one key block that a tile visits; key `base` (a multiple of kBlockK) is row 0 of
// the score tile. A full block needs no comparison of positions.
struct KeyBlock {
  int64_t base = 0;
  int64_t lo = 0, hi = 0;
  bool is_full = false;
  Cover cover = Cover::listed;
};

// By position alone, and with the block mask, whose listed columns trim lo and hi; Cover::none
// where nothing is left.
KeyBlock key_block_at(const RowTile& tile, int64_t block_idx);
KeyBlock key_block_at(const Problem& problem, const Unit& unit, const RowTile& tile,
                      int64_t block_idx);

// Keys that some row of [row_begin, row_end) of the tile sees inside `block`; {block.lo, block.lo}
// when there is none.
core::KeyInterval keys_of_rows(const RowTile& tile, const KeyBlock& block, int64_t row_begin,
                               int64_t row_end);

// Rows [lo, hi) of the tile that see some key of [key_begin, key_end); {0, 0} when there is none.
core::KeyInterval rows_of_keys(const RowTile& tile, int64_t key_begin, int64_t key_end);

inline bool has_dropout(const Problem& problem) { return problem.dropout.probability > 0.0f; }

inline bool has_score_program(const Problem& problem) {
  return problem.score_program.program != nullptr;
}
inline bool has_block_mask(const Problem& problem) {
  return problem.block_mask.row_offsets != nullptr;
}

// Consecutive units whose packed operands exist at the same time.
struct Wave {
  size_t begin = 0, end = 0;
};

// Cuts units into waves of at most `budget` floats each (always at least one unit), given each
// unit's own need.
std::vector<Wave> waves_of(const std::vector<size_t>& floats_of_unit, size_t budget);

// Floats of the wave that needs most.
size_t largest_wave(const std::vector<Wave>& waves, const std::vector<size_t>& floats_of_unit);

// A key block or a row tile of a unit.
struct UnitPart {
  size_t unit = 0;
  int64_t part = 0;
};

// Key blocks of a wave's units; row tiles of a wave's units, those with most keys first.
std::vector<UnitPart> blocks_of(const std::vector<Unit>& units, const Wave& wave);
std::vector<UnitPart> tiles_longest_first(const Problem& problem, const std::vector<Unit>& units,
                                          const Wave& wave);

// Key blocks of a wave's units for the backward: within a unit ascending, units with most remaining
// work first. `tiles` holds the planned row tiles of all units, those of unit u from first_tile[u].
std::vector<UnitPart> blocks_longest_chain_first(const std::vector<Unit>& units, const Wave& wave,
                                                 const std::vector<size_t>& first_tile,
                                                 const std::vector<RowTile>& tiles);

// 64 MiB of f32: far above what keeps threads busy, small beside a model.
inline constexpr size_t kWaveBudget = size_t{16} << 20;

}  // namespace regard::cpu
