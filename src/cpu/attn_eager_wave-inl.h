// The units of an eager call that are in flight at the same time, and where their matrices lie.
#if defined(REGARD_CPU_ATTN_EAGER_WAVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_EAGER_WAVE_INL_H_
#undef REGARD_CPU_ATTN_EAGER_WAVE_INL_H_
#else
#define REGARD_CPU_ATTN_EAGER_WAVE_INL_H_
#endif

#include <vector>

#include "cpu/attn_eager_cpu-inl.h"
#include "cpu/task_queue.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// One row tile of one unit in flight.
struct EagerTile {
  size_t unit;
  RowTile rows;
  float* memory;  // its slabs
};

// Units in flight. Each one's memory: packed keys, packed rows (backward only), slabs of its tiles.
struct EagerWave {
  std::vector<EagerTile> tiles;
  std::vector<float*> unit_memory;  // by unit
  std::vector<size_t> first_tile;   // by unit
};

// Floats of a unit before its slabs begin, and of one tile's slabs.
struct EagerNeed {
  size_t packed;
  size_t tile;
  size_t of_unit(const Unit& unit) const {
    return packed + static_cast<size_t>(unit.num_tiles()) * tile;
  }
};

inline EagerNeed forward_need(const Problem& problem, const Unit& unit) {
  return {packed_keys_floats(unit, static_cast<size_t>(problem.k.dim)) +
              packed_values_floats(unit, static_cast<size_t>(problem.v.dim)),
          eager_forward_floats(problem, unit)};
}

inline EagerNeed backward_need(const Problem& problem, const Unit& unit) {
  const HeadSizes sizes = head_sizes(problem);
  return {PackedKeys::floats(unit, sizes) +
              static_cast<size_t>(unit.num_tiles()) * PackedRows::floats(sizes),
          eager_backward_floats(problem, unit)};
}

using NeedOf = EagerNeed (*)(const Problem&, const Unit&);

inline EagerWave plan_eager_wave(const Problem& problem, const std::vector<Unit>& units,
                                 const Wave& range, NeedOf need_of, float* memory) {
  EagerWave wave;
  wave.unit_memory.resize(units.size());
  wave.first_tile.resize(units.size());
  for (size_t u = range.begin; u < range.end; ++u) {
    const EagerNeed need = need_of(problem, units[u]);
    wave.unit_memory[u] = memory;
    wave.first_tile[u] = wave.tiles.size();
    for (int64_t tile = 0; tile < units[u].num_tiles(); ++tile) {
      wave.tiles.push_back({u, row_tile_at(problem, units[u], tile),
                            memory + need.packed + static_cast<size_t>(tile) * need.tile});
    }
    memory += need.of_unit(units[u]);
  }
  return wave;
}

inline std::vector<size_t> floats_of_units(const Problem& problem, const std::vector<Unit>& units,
                                           NeedOf need_of) {
  std::vector<size_t> floats;
  floats.reserve(units.size());
  for (const Unit& unit : units) {
    floats.push_back(need_of(problem, unit).of_unit(unit));
  }
  return floats;
}

// Runs step(tile, scratch of the thread) for every tile of the wave.
template <class Step>
void for_each_tile(const EagerWave& wave, int num_threads, float* scratch, size_t thread_floats,
                   const Step& step) {
  run_tasks(static_cast<int64_t>(wave.tiles.size()), num_threads, [&](int64_t index, int thread) {
    step(wave.tiles[static_cast<size_t>(index)],
         scratch + static_cast<size_t>(thread) * thread_floats);
  });
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
