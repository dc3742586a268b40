// What a block mask leaves of a tile: which key blocks are visited, and which keys of them.
#pragma once

#include <cstdint>

#include "cpu/tile_plan.h"

namespace regard::cpu {

// Trims `block` to the columns that some row of the tile lists, and sets its cover.
void apply_cover(const Problem& problem, const Unit& unit, const RowTile& tile, KeyBlock& block);

// At most this many keys are listed for any row of the tile: what the tile costs, roughly.
int64_t listed_keys(const Problem& problem, const Unit& unit, const RowTile& tile);

}  // namespace regard::cpu
