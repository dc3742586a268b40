// The units of a backward that are in flight at the same time: where their packed operands lie, and
// which key blocks each row tile visits.
#if defined(REGARD_CPU_ATTN_BWD_WAVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_BWD_WAVE_INL_H_
#undef REGARD_CPU_ATTN_BWD_WAVE_INL_H_
#else
#define REGARD_CPU_ATTN_BWD_WAVE_INL_H_
#endif

#include <vector>

#include "cpu/attn_bwd_cpu-inl.h"
#include "cpu/head_sums.h"
#include "cpu/program_gradients.h"
#include "cpu/sage_int8_tiles-inl.h"
#include "cpu/turn.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Copies of a program's tensor gradients: as many tasks can add to them at the same time.
inline constexpr int kTensorSlots = 16;

// Everything the tasks of one wave share. Tile i is row tile parts[i].part of unit parts[i].unit.
struct BackwardWave {
  const BackwardCall* call;
  const std::vector<Unit>* units;
  std::vector<float*> unit_memory;  // by unit: PackedKeys, then one PackedRows a tile
  std::vector<size_t> first_tile;   // by unit: index of its tile 0
  std::vector<UnitPart> parts;      // by tile
  std::vector<RowTile> tiles;       // by tile: the rows' limits
  std::vector<Turn> turns;          // by tile: which key block adds to its dQ next
  std::vector<Cover> covers;        // with a block mask: by tile and key block of its unit
  std::vector<size_t> first_cover;  // by tile
  HeadSums sink_sums, slope_sums;
  TensorSums tensor_sums;
  Int8Tiles int8_tiles;  // of an int8 backward
  float* thread_scratch;
  size_t thread_floats;

  BackwardWave(const BackwardCall& backward, const std::vector<Unit>& all_units, float* scratch,
               size_t floats_a_thread)
      : call(&backward),
        units(&all_units),
        unit_memory(all_units.size()),
        first_tile(all_units.size()),
        sink_sums(*backward.problem, backward.tensors->d_sink, false),
        slope_sums(*backward.problem, backward.tensors->d_slopes,
                   backward.problem->alibi.stride_batch != 0),
        tensor_sums(*backward.problem, backward.tensors->d_tensors, kTensorSlots),
        thread_scratch(scratch),
        thread_floats(floats_a_thread) {}

  // Lays out the units of `range` in `memory` and lists their row tiles.
  void plan(const Wave& range, const std::vector<size_t>& floats, float* memory) {
    parts.clear();
    first_cover.clear();
    size_t num_covers = 0;
    for (size_t u = range.begin; u < range.end; ++u) {
      const Unit& unit = (*units)[u];
      unit_memory[u] = memory;
      memory += floats[u];
      first_tile[u] = parts.size();
      for (int64_t tile = 0; tile < unit.num_tiles(); ++tile) {
        parts.push_back({u, tile});
        first_cover.push_back(num_covers);
        num_covers += static_cast<size_t>(unit.num_blocks());
      }
    }
    tiles.resize(parts.size());
    turns = std::vector<Turn>(parts.size());
    covers.assign(has_block_mask(*call->problem) ? num_covers : 0, Cover::none);
    if (call->int8 != nullptr) {
      int8_tiles.start(*units, range, parts.size());
    }
    sink_sums.start(parts.size());
    slope_sums.start(parts.size());
  }

  // Decides which key blocks tile i visits, once its limits are known.
  void plan_visits(size_t i) {
    const RowTile& tile = tiles[i];
    for (int64_t b = tile.first_block(); !covers.empty() && b < tile.end_block(); ++b) {
      covers[first_cover[i] + static_cast<size_t>(b)] =
          key_block_at(*call->problem, (*units)[parts[i].unit], tile, b).cover;
    }
    turns[i].start_at(next_visit(i, tile.first_block()));
  }
  bool visits(size_t i, int64_t block) const {
    return block >= tiles[i].first_block() && block < tiles[i].end_block() &&
           (covers.empty() || covers[first_cover[i] + static_cast<size_t>(block)] != Cover::none);
  }
  // The first visited block from `block` on; end_block() or more when there is none.
  int64_t next_visit(size_t i, int64_t block) const {
    while (block < tiles[i].end_block() && !visits(i, block)) {
      ++block;
    }
    return block;
  }

  HeadSizes sizes() const { return head_sizes(*call->problem); }
  PackedKeys keys(size_t unit) const {
    return PackedKeys((*units)[unit], sizes(), unit_memory[unit]);
  }
  PackedRows rows(size_t unit, int64_t tile) const {
    float* first = unit_memory[unit] + PackedKeys::floats((*units)[unit], sizes());
    return PackedRows(sizes(), first + static_cast<size_t>(tile) * PackedRows::floats(sizes()));
  }
  float* scratch(int thread) const {
    return thread_scratch + static_cast<size_t>(thread) * thread_floats;
  }
};

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
