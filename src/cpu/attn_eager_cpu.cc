#include "cpu/attn_eager_cpu.h"

#include <algorithm>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_eager_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_eager_cpu-inl.h"
#include "hwy/highway.h"

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

EagerNeed forward_need(const Problem& problem, const Unit& unit) {
  return {packed_keys_floats(unit, static_cast<size_t>(problem.k.dim)) +
              packed_values_floats(unit, static_cast<size_t>(problem.v.dim)),
          eager_forward_floats(problem, unit)};
}

EagerNeed backward_need(const Problem& problem, const Unit& unit) {
  const HeadSizes sizes = head_sizes(problem);
  return {PackedKeys::floats(unit, sizes) +
              static_cast<size_t>(unit.num_tiles()) * PackedRows::floats(sizes),
          eager_backward_floats(problem, unit)};
}

using NeedOf = EagerNeed (*)(const Problem&, const Unit&);

EagerWave plan_eager_wave(const Problem& problem, const std::vector<Unit>& units, const Wave& range,
                          NeedOf need_of, float* memory) {
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

std::vector<size_t> floats_of_units(const Problem& problem, const std::vector<Unit>& units,
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

void run_forward_wave(const ForwardCall& call, const std::vector<Unit>& units, const Wave& range,
                      const EagerWave& wave, float* scratch, size_t thread_floats) {
  const Problem& problem = *call.problem;
  const int threads = call.num_threads;
  const std::vector<UnitPart> blocks = blocks_of(units, range);
  const auto value_strips = [&](size_t u) {
    return wave.unit_memory[u] + packed_keys_floats(units[u], static_cast<size_t>(problem.k.dim));
  };
  const auto buffers_of = [&](const EagerTile& tile, float* thread_scratch) {
    return eager_forward_buffers(problem, units[tile.unit], thread_scratch, tile.memory);
  };
  run_tasks(static_cast<int64_t>(blocks.size()), threads, [&](int64_t index, int thread) {
    const UnitPart part = blocks[static_cast<size_t>(index)];
    const Unit& unit = units[part.unit];
    const auto depth = static_cast<size_t>(unit.sequence.k_len);
    const auto begin = static_cast<size_t>(part.part * kBlockK);
    const size_t end = std::min(depth, begin + kBlockK);
    float* rows = scratch + static_cast<size_t>(thread) * thread_floats;
    pack_keys(problem.k, unit, begin, end, rows, wave.unit_memory[part.unit], nullptr, 0);
    pack_keys(problem.v, unit, begin, end, rows, nullptr, value_strips(part.unit), depth);
  });
  for_each_tile(wave, threads, scratch, thread_floats, [&](const EagerTile& tile, float* mine) {
    eager_scores(problem, units[tile.unit], tile.rows, wave.unit_memory[tile.unit],
                 buffers_of(tile, mine));
  });
  for_each_tile(wave, threads, scratch, thread_floats, [&](const EagerTile& tile, float* mine) {
    eager_softmax(problem, units[tile.unit], tile.rows, buffers_of(tile, mine));
  });
  for_each_tile(wave, threads, scratch, thread_floats, [&](const EagerTile& tile, float* mine) {
    eager_values(problem, *call.outputs, units[tile.unit], tile.rows, value_strips(tile.unit),
                 buffers_of(tile, mine));
  });
}

void eager_forward(const ForwardCall& call) {
  const Problem& problem = *call.problem;
  const std::vector<Unit> units = units_of(problem);
  const std::vector<size_t> floats = floats_of_units(problem, units, forward_need);
  const std::vector<Wave> waves = waves_of(floats, kWaveBudget);
  const Scratch memory(largest_wave(waves, floats));
  const size_t thread_floats = whole_lines(ForwardBuffers::floats(problem));
  const Scratch threads(thread_floats * static_cast<size_t>(call.num_threads));
  for (const Wave& range : waves) {
    const EagerWave wave = plan_eager_wave(problem, units, range, forward_need, memory.data());
    run_forward_wave(call, units, range, wave, threads.data(), thread_floats);
  }
}

// The steps of one backward wave; members are what all of them share.
struct EagerBackward {
  const BackwardCall* call;
  const std::vector<Unit>* units;
  const EagerWave* wave;
  float* scratch;
  size_t thread_floats;

  const Problem& problem() const { return *call->problem; }
  HeadSizes sizes() const { return head_sizes(problem()); }
  PackedKeys keys(size_t u) const { return PackedKeys((*units)[u], sizes(), wave->unit_memory[u]); }
  PackedRows rows(const EagerTile& tile) const {
    const Unit& unit = (*units)[tile.unit];
    float* first = wave->unit_memory[tile.unit] + PackedKeys::floats(unit, sizes());
    const auto idx = static_cast<size_t>(tile.rows.first_row / kBlockQ);
    return PackedRows(sizes(), first + idx * PackedRows::floats(sizes()));
  }
  BackwardBuffers buffers(const EagerTile& tile, float* mine) const {
    return eager_backward_buffers(problem(), (*units)[tile.unit], mine, tile.memory);
  }

  void pack_key_block(UnitPart part, float* mine) const {
    const Unit& unit = (*units)[part.unit];
    const PackedKeys to = keys(part.unit);
    const auto depth = static_cast<size_t>(unit.sequence.k_len);
    const auto begin = static_cast<size_t>(part.part * kBlockK);
    const size_t end = std::min(depth, begin + kBlockK);
    pack_keys(problem().k, unit, begin, end, mine, to.k_panels, to.k_strips, depth);
    pack_keys(problem().v, unit, begin, end, mine, to.v_panels, nullptr, depth);
  }

  void tile_scores(const EagerTile& tile, float* mine) const {
    const Unit& unit = (*units)[tile.unit];
    pack_rows(*call, unit, tile.rows, mine, rows(tile));
    eager_score_gradients(problem(), unit, tile.rows, keys(tile.unit), rows(tile),
                          buffers(tile, mine));
  }

  void key_gradients(UnitPart part, float* mine) const {
    const Unit& unit = (*units)[part.unit];
    const BackwardBuffers out(problem(), mine);
    std::fill_n(out.dk, kBlockK * sizes().qk_padded, 0.0f);
    std::fill_n(out.dv, kBlockK * sizes().v_padded, 0.0f);
    for (int64_t idx = 0; idx < unit.num_tiles(); ++idx) {
      const EagerTile& tile = wave->tiles[wave->first_tile[part.unit] + static_cast<size_t>(idx)];
      eager_add_key_gradients(problem(), unit, tile.rows, part.part * kBlockK, rows(tile),
                              buffers(tile, mine));
    }
    write_key_gradients(*call, unit, part.part, out);
  }

  void query_gradients(const EagerTile& tile, float* mine) const {
    const Unit& unit = (*units)[tile.unit];
    eager_query_gradients(problem(), unit, tile.rows, keys(tile.unit), rows(tile),
                          buffers(tile, mine));
    write_query_gradients(*call, unit, tile.rows, rows(tile));
  }

  void run(const std::vector<UnitPart>& blocks) const {
    const int threads = call->num_threads;
    const auto for_each_block = [&](const auto& step) {
      run_tasks(static_cast<int64_t>(blocks.size()), threads, [&](int64_t index, int thread) {
        step(blocks[static_cast<size_t>(index)],
             scratch + static_cast<size_t>(thread) * thread_floats);
      });
    };
    for_each_block([&](UnitPart part, float* mine) { pack_key_block(part, mine); });
    for_each_tile(*wave, threads, scratch, thread_floats,
                  [&](const EagerTile& tile, float* mine) { tile_scores(tile, mine); });
    for_each_block([&](UnitPart part, float* mine) { key_gradients(part, mine); });
    for_each_tile(*wave, threads, scratch, thread_floats,
                  [&](const EagerTile& tile, float* mine) { query_gradients(tile, mine); });
  }
};

void eager_backward(const BackwardCall& call) {
  const Problem& problem = *call.problem;
  const std::vector<Unit> units = units_of(problem);
  const std::vector<size_t> floats = floats_of_units(problem, units, backward_need);
  const std::vector<Wave> waves = waves_of(floats, kWaveBudget);
  const Scratch memory(largest_wave(waves, floats));
  const size_t thread_floats = whole_lines(BackwardBuffers::floats(problem));
  const Scratch threads(thread_floats * static_cast<size_t>(call.num_threads));
  for (const Wave& range : waves) {
    const EagerWave wave = plan_eager_wave(problem, units, range, backward_need, memory.data());
    EagerBackward{&call, &units, &wave, threads.data(), thread_floats}.run(blocks_of(units, range));
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(eager_forward);
HWY_EXPORT(eager_backward);

void attn_eager_cpu_forward(const ForwardCall& call) { HWY_DYNAMIC_DISPATCH(eager_forward)(call); }
void attn_eager_cpu_backward(const BackwardCall& call) {
  HWY_DYNAMIC_DISPATCH(eager_backward)(call);
}

}  // namespace regard::cpu
#endif
