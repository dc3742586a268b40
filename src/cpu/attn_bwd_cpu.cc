#include "cpu/attn_bwd_cpu.h"

#include <algorithm>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_bwd_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_bwd_cpu-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Everything the tasks of one wave share.
struct BackwardWave {
  const BackwardCall* call;
  const std::vector<Unit>* units;
  std::vector<float*> unit_memory;  // by unit: PackedKeys, then one PackedRows a tile
  std::vector<size_t> first_tile;   // by unit: index of its tile 0 in tiles and turns
  std::vector<UnitPart> parts;      // all row tiles of the wave
  std::vector<RowTile> tiles;       // the same, planned
  std::vector<Turn> turns;          // the same: which key block adds to its dQ next
  float* thread_scratch;
  size_t thread_floats;

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

// Step 1: keys and values of one block to f32 panels and strips.
struct PackKeysTask {
  const BackwardWave* wave;
  const std::vector<UnitPart>* blocks;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = (*blocks)[static_cast<size_t>(index)];
    const Unit& unit = (*wave->units)[part.unit];
    const Problem& problem = *wave->call->problem;
    const PackedKeys to = wave->keys(part.unit);
    const auto depth = static_cast<size_t>(unit.sequence.k_len);
    const auto begin = static_cast<size_t>(part.part * kBlockK);
    const size_t end = std::min(depth, begin + kBlockK);
    float* rows = wave->scratch(thread);
    pack_keys(problem.k, unit, begin, end, rows, to.k_panels, to.k_strips, depth);
    pack_keys(problem.v, unit, begin, end, rows, to.v_panels, nullptr, depth);
  }
};

// Step 2: rows of one tile.
struct PackRowsTask {
  BackwardWave* wave;

  void operator()(int64_t index, int thread) const {
    const auto i = static_cast<size_t>(index);
    const UnitPart part = wave->parts[i];
    const Unit& unit = (*wave->units)[part.unit];
    wave->tiles[i] = row_tile_at(*wave->call->problem, unit, part.part);
    wave->turns[i].start_at(wave->tiles[i].first_block());
    pack_rows(*wave->call, unit, wave->tiles[i], wave->scratch(thread),
              wave->rows(part.unit, part.part));
  }
};

// Step 3: one key block against all row tiles that see it.
struct KeyBlockTask {
  BackwardWave* wave;
  const std::vector<UnitPart>* blocks;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = (*blocks)[static_cast<size_t>(index)];
    const Unit& unit = (*wave->units)[part.unit];
    const Problem& problem = *wave->call->problem;
    const HeadSizes sizes = wave->sizes();
    const PackedKeys keys = wave->keys(part.unit);
    const BackwardBuffers buffers(problem, wave->scratch(thread));
    std::fill_n(buffers.dk, kBlockK * sizes.qk_padded, 0.0f);
    std::fill_n(buffers.dv, kBlockK * sizes.v_padded, 0.0f);
    for (int64_t idx = unit.num_tiles() - 1; idx >= 0; --idx) {
      const size_t i = wave->first_tile[part.unit] + static_cast<size_t>(idx);
      const RowTile& tile = wave->tiles[i];
      if (part.part < tile.first_block() || part.part >= tile.end_block()) {
        continue;
      }
      const KeyBlock block = key_block_at(tile, part.part);
      const PackedRows rows = wave->rows(part.unit, idx);
      score_block_backward(problem, unit, tile, block, keys, rows, buffers);
      add_key_gradients(problem, tile, block, rows, buffers);
      wave->turns[i].wait_for(part.part);
      add_query_gradients(problem, unit, tile, block, keys, rows, buffers);
      wave->turns[i].pass(part.part);
    }
    write_key_gradients(*wave->call, unit, part.part, buffers);
  }
};

// Step 4: dQ of one tile to its output.
struct WriteRowsTask {
  const BackwardWave* wave;

  void operator()(int64_t index, int) const {
    const auto i = static_cast<size_t>(index);
    const UnitPart part = wave->parts[i];
    const Unit& unit = (*wave->units)[part.unit];
    write_query_gradients(*wave->call, unit, wave->tiles[i], wave->rows(part.unit, part.part));
  }
};

// Lays out the units of `range` in `memory` and lists their row tiles.
void plan_wave(const Wave& range, const std::vector<size_t>& floats, float* memory,
               BackwardWave& wave) {
  wave.parts.clear();
  for (size_t u = range.begin; u < range.end; ++u) {
    wave.unit_memory[u] = memory;
    memory += floats[u];
    wave.first_tile[u] = wave.parts.size();
    for (int64_t tile = 0; tile < (*wave.units)[u].num_tiles(); ++tile) {
      wave.parts.push_back({u, tile});
    }
  }
  wave.tiles.resize(wave.parts.size());
  wave.turns = std::vector<Turn>(wave.parts.size());
}

void run_wave(const Wave& range, BackwardWave& wave) {
  const int threads = wave.call->num_threads;
  const std::vector<UnitPart> blocks = blocks_of(*wave.units, range);
  const auto num_blocks = static_cast<int64_t>(blocks.size());
  const auto num_tiles = static_cast<int64_t>(wave.parts.size());
  run_tasks(num_blocks, threads, PackKeysTask{&wave, &blocks});
  run_tasks(num_tiles, threads, PackRowsTask{&wave});
  const std::vector<UnitPart> ordered =
      blocks_longest_chain_first(*wave.units, range, wave.first_tile, wave.tiles);
  run_tasks(num_blocks, threads, KeyBlockTask{&wave, &ordered});
  run_tasks(num_tiles, threads, WriteRowsTask{&wave});
}

void backward(const BackwardCall& call) {
  const Problem& problem = *call.problem;
  const HeadSizes sizes = head_sizes(problem);
  const std::vector<Unit> units = units_of(problem);
  std::vector<size_t> floats(units.size());
  for (size_t u = 0; u < units.size(); ++u) {
    floats[u] = PackedKeys::floats(units[u], sizes) +
                static_cast<size_t>(units[u].num_tiles()) * PackedRows::floats(sizes);
  }
  const std::vector<Wave> waves = waves_of(floats, kWaveBudget);
  const Scratch packed(largest_wave(waves, floats));
  const size_t thread_floats = whole_lines(BackwardBuffers::floats(problem));
  const Scratch threads(thread_floats * static_cast<size_t>(call.num_threads));
  BackwardWave wave{.call = &call,
                    .units = &units,
                    .unit_memory = std::vector<float*>(units.size()),
                    .first_tile = std::vector<size_t>(units.size()),
                    .parts = {},
                    .tiles = {},
                    .turns = {},
                    .thread_scratch = threads.data(),
                    .thread_floats = thread_floats};
  for (const Wave& range : waves) {
    plan_wave(range, floats, packed.data(), wave);
    run_wave(range, wave);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(backward);

void attn_bwd_cpu(const BackwardCall& call) { HWY_DYNAMIC_DISPATCH(backward)(call); }

}  // namespace regard::cpu
#endif
