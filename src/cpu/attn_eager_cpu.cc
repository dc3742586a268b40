#include "cpu/attn_eager_cpu.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"
#include "cpu/unowned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_eager_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_eager_cpu-inl.h"
#include "cpu/attn_eager_wave-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

void run_forward_wave(const ForwardCall& call, const std::vector<Unit>& units, const Wave& range,
                      const EagerWave& wave, float* scratch, size_t thread_floats) {
  const Problem& problem = *call.problem;
  const int threads = call.num_threads;
  const std::vector<UnitPart> blocks = blocks_of(units, range);
  const auto value_strips = [&](size_t u) {
    return wave.unit_memory[u] + packed_keys_floats(units[u], static_cast<size_t>(problem.k.dim));
  };
  std::vector<std::atomic<bool>> has_special_values(units.size());
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
    pack_keys(problem, problem.k, unit, begin, end, rows, wave.unit_memory[part.unit], nullptr, 0);
    if (pack_keys(problem, problem.v, unit, begin, end, rows, nullptr, value_strips(part.unit),
                  depth, 1.0f, NonFinite::as_zero)) {
      has_special_values[part.unit] = true;
    }
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
                 has_special_values[tile.unit], buffers_of(tile, mine));
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
  write_unowned_outputs(problem, *call.outputs);
}

// Sums that outlive a wave.
struct EagerSums {
  HeadSums sink, slopes;
  BiasCollector bias;

  explicit EagerSums(const BackwardCall& call)
      : sink(*call.problem, call.tensors->d_sink, false),
        slopes(*call.problem, call.tensors->d_slopes, call.problem->alibi.stride_batch != 0),
        bias{call.tensors->d_bias} {}
};

// The steps of one backward wave; members are what all of them share.
struct EagerBackward {
  const BackwardCall* call;
  const std::vector<Unit>* units;
  const EagerWave* wave;
  EagerSums* sums;
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
    pack_keys(problem(), problem().k, unit, begin, end, mine, to.k_panels, to.k_strips, depth, 1.0f,
              NonFinite::as_zero);
    pack_keys(problem(), problem().v, unit, begin, end, mine, to.v_panels, nullptr, depth);
  }

  // `idx` counts the wave's tiles.
  void tile_scores(size_t idx, float* mine) const {
    const EagerTile& tile = wave->tiles[idx];
    const Unit& unit = (*units)[tile.unit];
    const PackedRows packed = rows(tile);
    const BackwardBuffers of_tile = buffers(tile, mine);
    pack_rows(*call, unit, tile.rows, mine, packed);
    eager_score_gradients(problem(), unit, tile.rows, keys(tile.unit), packed, of_tile);
    if (sums->sink.is_wanted()) {
      add_sink_gradients(problem(), unit, tile.rows, packed, sums->sink.of_tile(idx));
    }
    const SlopeCollector slopes{&sums->slopes};
    for (size_t s = 0;
         sums->slopes.is_wanted() && s < num_strips(static_cast<size_t>(tile.rows.num_rows)); ++s) {
      slopes.add({idx, 0}, whole_strip(problem(), unit, tile.rows, s), of_tile);
    }
  }

  // One block of keys of all tiles in order, so that every element has one writer. A bias without
  // an axis of keys has one element for all blocks: `block` < 0 then stands for all of them.
  void bias_gradient(int64_t sequence, int64_t block, float* mine) const {
    for (const EagerTile& tile : wave->tiles) {
      const Unit& unit = (*units)[tile.unit];
      if (sequence >= 0 && unit.sequence.index != sequence) {
        continue;
      }
      const int64_t first = block < 0 ? 0 : block;
      const int64_t end = block < 0 ? unit.num_blocks() : std::min(block + 1, unit.num_blocks());
      for (int64_t b = first; b < end; ++b) {
        eager_add_bias_gradient(problem(), unit, tile.rows, b, buffers(tile, mine), sums->bias);
      }
    }
  }

  // Tasks of bias_gradient(): key blocks of rows in a batch mean the same keys, those of documents
  // do not.
  void add_bias_gradient(const Wave& range) const {
    std::vector<std::pair<int64_t, int64_t>> tasks;
    for (size_t u = range.begin; u < range.end; ++u) {
      const Unit& unit = (*units)[u];
      const int64_t sequence = core::is_packed(problem()) ? unit.sequence.index : -1;
      for (int64_t b = 0; b < unit.num_blocks() && sums->bias.out.stride_k != 0; ++b) {
        tasks.emplace_back(sequence, b);
      }
    }
    if (sums->bias.out.stride_k == 0) {
      tasks.emplace_back(-1, -1);
    }
    std::sort(tasks.begin(), tasks.end());
    tasks.erase(std::unique(tasks.begin(), tasks.end()), tasks.end());
    run_tasks(
        static_cast<int64_t>(tasks.size()), call->num_threads, [&](int64_t index, int thread) {
          const auto [sequence, block] = tasks[static_cast<size_t>(index)];
          bias_gradient(sequence, block, scratch + static_cast<size_t>(thread) * thread_floats);
        });
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

  void run(const Wave& range) const {
    const int threads = call->num_threads;
    const std::vector<UnitPart> blocks = blocks_of(*units, range);
    const auto for_each_block = [&](const auto& step) {
      run_tasks(static_cast<int64_t>(blocks.size()), threads, [&](int64_t index, int thread) {
        step(blocks[static_cast<size_t>(index)],
             scratch + static_cast<size_t>(thread) * thread_floats);
      });
    };
    sums->sink.start(wave->tiles.size());
    sums->slopes.start(wave->tiles.size());
    for_each_block([&](UnitPart part, float* mine) { pack_key_block(part, mine); });
    run_tasks(static_cast<int64_t>(wave->tiles.size()), threads, [&](int64_t index, int thread) {
      tile_scores(static_cast<size_t>(index),
                  scratch + static_cast<size_t>(thread) * thread_floats);
    });
    if (sums->bias.out.data != nullptr) {
      add_bias_gradient(range);
    }
    if (problem().softcap != 0.0f) {
      for_each_tile(
          *wave, threads, scratch, thread_floats, [&](const EagerTile& tile, float* mine) {
            eager_softcap_gradients(problem(), (*units)[tile.unit], tile.rows, buffers(tile, mine));
          });
    }
    for_each_block([&](UnitPart part, float* mine) { key_gradients(part, mine); });
    for_each_tile(*wave, threads, scratch, thread_floats,
                  [&](const EagerTile& tile, float* mine) { query_gradients(tile, mine); });
    std::vector<UnitPart> parts;
    for (const EagerTile& tile : wave->tiles) {
      parts.push_back({tile.unit, 0});
    }
    sums->sink.finish(*units, parts);
    sums->slopes.finish(*units, parts);
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
  EagerSums sums(call);
  clear_bias_gradient(problem, call.tensors->d_bias);
  for (const Wave& range : waves) {
    const EagerWave wave = plan_eager_wave(problem, units, range, backward_need, memory.data());
    EagerBackward{&call, &units, &wave, &sums, threads.data(), thread_floats}.run(range);
  }
  sums.sink.write();
  sums.slopes.write();
  write_unowned_gradients(problem, *call.tensors);
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
