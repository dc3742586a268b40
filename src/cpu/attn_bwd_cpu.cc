#include "cpu/attn_bwd_cpu.h"

#include <algorithm>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"
#include "cpu/unowned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_bwd_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_bwd_cpu-inl.h"
#include "cpu/attn_bwd_wave-inl.h"
#include "cpu/attn_dscore_cpu-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

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
    // A key that is not finite has NaN in dS wherever it counts.
    pack_keys(problem, problem.k, unit, begin, end, rows, to.k_panels, to.k_strips, depth,
              descale_of(problem, problem.descale.k, unit), NonFinite::as_zero);
    pack_keys(problem, problem.v, unit, begin, end, rows, to.v_panels, nullptr, depth,
              descale_of(problem, problem.descale.v, unit));
  }
};

// Step 2: rows of one tile.
struct PackRowsTask {
  BackwardWave* wave;

  void operator()(int64_t index, int thread) const {
    const auto i = static_cast<size_t>(index);
    const UnitPart part = wave->parts[i];
    const Unit& unit = (*wave->units)[part.unit];
    const RowTile& tile = wave->tiles[i] = row_tile_at(*wave->call->problem, unit, part.part);
    wave->plan_visits(i);
    const PackedRows rows = wave->rows(part.unit, part.part);
    pack_rows(*wave->call, unit, tile, wave->scratch(thread), rows);
    if (wave->sink_sums.is_wanted()) {
      add_sink_gradients(*wave->call->problem, unit, tile, rows, wave->sink_sums.of_tile(i));
    }
  }
};

// Step 2a of an int8 backward: the largest values of one row tile.
struct MeasureRowsTask {
  BackwardWave* wave;

  void operator()(int64_t index, int thread) const {
    const auto i = static_cast<size_t>(index);
    const UnitPart part = wave->parts[i];
    const Unit& unit = (*wave->units)[part.unit];
    const Problem& problem = *wave->call->problem;
    const RowTile& tile = wave->tiles[i];
    const BackwardBuffers buffers(problem, wave->scratch(thread));
    const PackedRows rows = wave->rows(part.unit, part.part);
    for (int64_t b = wave->next_visit(i, tile.first_block()); b < tile.end_block();
         b = wave->next_visit(i, b + 1)) {
      const KeyBlock block = key_block_at(problem, unit, tile, b);
      score_strips(problem, unit, tile, block, wave->keys(part.unit), rows, buffers,
                   [&](const ScoreStrip& strip) {
                     finish_gradients(strip, block.is_full, rows, buffers);
                     wave->int8_tiles.measure(part.unit, strip, buffers,
                                              wave->int8_tiles.row_sums(i));
                   });
    }
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
      if (!wave->visits(i, part.part)) {
        continue;
      }
      const RowTile& tile = wave->tiles[i];
      const KeyBlock block = key_block_at(problem, unit, tile, part.part);
      const PackedRows rows = wave->rows(part.unit, idx);
      score_block_backward(problem, unit, tile, block, keys, rows, buffers,
                           [&](const ScoreStrip& strip) {
                             if (wave->call->int8 != nullptr) {
                               wave->int8_tiles.round(part.unit, strip, buffers);
                             }
                           });
      add_key_gradients(problem, tile, block, rows, buffers);
      wave->turns[i].wait_for(part.part);
      add_query_gradients(problem, unit, tile, block, keys, rows, buffers);
      wave->turns[i].pass_to(wave->next_visit(i, part.part + 1));
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
    const PackedRows rows = wave->rows(part.unit, part.part);
    if (wave->call->int8 != nullptr && wave->call->int8->has_row_sums) {
      const HeadSizes sizes = wave->sizes();
      const float* sums = wave->int8_tiles.row_sums(i);
      for (size_t row = 0; row < kBlockQ; ++row) {
        rows.dq[row * sizes.qk_padded + sizes.qk - 1] = sums[row];
      }
    }
    write_query_gradients(*wave->call, unit, wave->tiles[i], rows);
  }
};

void run_wave(const Wave& range, BackwardWave& wave) {
  const int threads = wave.call->num_threads;
  const std::vector<UnitPart> blocks = blocks_of(*wave.units, range);
  const auto num_blocks = static_cast<int64_t>(blocks.size());
  const auto num_tiles = static_cast<int64_t>(wave.parts.size());
  run_tasks(num_blocks, threads, PackKeysTask{&wave, &blocks});
  run_tasks(num_tiles, threads, PackRowsTask{&wave});
  if (wave.call->int8 != nullptr) {
    run_tasks(num_tiles, threads, MeasureRowsTask{&wave});
    wave.int8_tiles.finish_scales();
  }
  const std::vector<UnitPart> ordered =
      blocks_longest_chain_first(*wave.units, range, wave.first_tile, wave.tiles);
  run_tasks(num_blocks, threads, KeyBlockTask{&wave, &ordered});
  run_tasks(num_tiles, threads, WriteRowsTask{&wave});
  collect_score_gradients(wave);
  wave.sink_sums.finish(*wave.units, wave.parts);
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
  BackwardWave wave(call, units, threads.data(), thread_floats);
  clear_bias_gradient(problem, call.tensors->d_bias);
  for (const Wave& range : waves) {
    wave.plan(range, floats, packed.data());
    run_wave(range, wave);
  }
  wave.sink_sums.write();
  wave.slope_sums.write();
  wave.tensor_sums.write();
  write_unowned_gradients(problem, *call.tensors);
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(backward);

void attn_bwd_cpu(const BackwardCall& call) { HWY_DYNAMIC_DISPATCH(backward)(call); }

}  // namespace regard::cpu
#endif
