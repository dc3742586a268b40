#include "cpu/attn_fwd_cpu.h"

#include <algorithm>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"
#include "cpu/unowned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_fwd_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_fwd_cpu-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Step 1 of a wave: keys and values of one block of one unit to f32.
struct PackTask {
  const ForwardCall* call;
  const std::vector<Unit>* units;
  const std::vector<UnitPart>* blocks;
  const std::vector<PackedUnit>* packed;
  float* scratch;
  size_t scratch_floats;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = (*blocks)[static_cast<size_t>(index)];
    const Unit& unit = (*units)[part.unit];
    const PackedUnit& to = (*packed)[part.unit];
    const Problem& problem = *call->problem;
    float* rows = scratch + static_cast<size_t>(thread) * scratch_floats;
    const auto begin = static_cast<size_t>(part.part * kBlockK);
    const auto end =
        static_cast<size_t>(std::min<int64_t>(unit.sequence.k_len, (part.part + 1) * kBlockK));
    pack_keys(problem, problem.k, unit, begin, end, rows, to.key_panels, nullptr, 0,
              descale_of(problem, problem.descale.k, unit));
    to.has_special_values[part.part] =
        pack_keys(problem, problem.v, unit, begin, end, rows, nullptr, to.value_strips,
                  static_cast<size_t>(unit.sequence.k_len),
                  descale_of(problem, problem.descale.v, unit), NonFinite::as_zero);
  }
};

// Step 2: one row tile from first key to last.
struct TileTask {
  const ForwardCall* call;
  const std::vector<Unit>* units;
  const std::vector<UnitPart>* tiles;
  const std::vector<PackedUnit>* packed;
  float* scratch;
  size_t scratch_floats;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = (*tiles)[static_cast<size_t>(index)];
    forward_tile(*call, (*units)[part.unit], part.part, (*packed)[part.unit],
                 scratch + static_cast<size_t>(thread) * scratch_floats);
  }
};

void forward(const ForwardCall& call) {
  const Problem& problem = *call.problem;
  const std::vector<Unit> units = units_of(problem);
  std::vector<size_t> floats(units.size());
  for (size_t u = 0; u < units.size(); ++u) {
    floats[u] = packed_keys_floats(units[u], static_cast<size_t>(problem.k.dim)) +
                packed_values_floats(units[u], static_cast<size_t>(problem.v.dim));
  }
  const std::vector<Wave> waves = waves_of(floats, kWaveBudget);
  const Scratch packed_scratch(largest_wave(waves, floats));
  const size_t thread_floats = whole_lines(ForwardBuffers::floats(problem));
  const Scratch thread_scratch(thread_floats * static_cast<size_t>(call.num_threads));
  std::vector<PackedUnit> packed(units.size());
  std::vector<uint8_t> has_special_values;
  for (const Wave& wave : waves) {
    const std::vector<UnitPart> blocks = blocks_of(units, wave);
    has_special_values.assign(blocks.size(), 0);
    uint8_t* next_flag = has_special_values.data();
    float* next = packed_scratch.data();
    for (size_t u = wave.begin; u < wave.end; ++u) {
      packed[u] = {next, next + packed_keys_floats(units[u], static_cast<size_t>(problem.k.dim)),
                   next_flag};
      next += floats[u];
      next_flag += units[u].num_blocks();
    }
    run_tasks(static_cast<int64_t>(blocks.size()), call.num_threads,
              PackTask{&call, &units, &blocks, &packed, thread_scratch.data(), thread_floats});
    const std::vector<UnitPart> tiles = tiles_longest_first(problem, units, wave);
    run_tasks(static_cast<int64_t>(tiles.size()), call.num_threads,
              TileTask{&call, &units, &tiles, &packed, thread_scratch.data(), thread_floats});
  }
  write_unowned_outputs(problem, *call.outputs);
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(forward);

void attn_fwd_cpu(const ForwardCall& call) { HWY_DYNAMIC_DISPATCH(forward)(call); }

}  // namespace regard::cpu
#endif
