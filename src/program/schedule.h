// The order in which a tile evaluates nodes, and where it keeps them: nodes that depend on the
// query row alone are computed once a row, those on the key alone once a key, all others for every
// pair.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "program/graph.h"

namespace regard::program {

// Where a value lives: `row` values are one for each lane (query row), `key` values one for each
// key, `pair` values one for each of both. Constants and what is the same in a whole sequence count
// as row values.
enum class Extent : uint8_t { row, key, pair };

struct Step {
  int32_t node = -1;
  Extent extent = Extent::pair;
  int32_t slot = -1;  // among values of its extent; pair slots are used again
};

struct Schedule {
  std::vector<Step> steps;     // row values first, then key values, then pairs; each in graph order
  std::vector<int32_t> place;  // [graph size] index into steps, -1 for nodes that are not needed
  std::vector<int32_t> roots;  // nodes whose values are asked for
  int32_t num_row_slots = 0, num_key_slots = 0, num_pair_slots = 0;
};

Extent extent_of(const Node& node);
Schedule make_schedule(const Graph& graph, std::span<const int32_t> roots);

}  // namespace regard::program
