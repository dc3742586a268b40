#include "cpu/sage_fwd_cpu.h"

#include <algorithm>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/tile_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sage_fwd_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/sage_fwd_cpu-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// What the tasks of one wave share.
struct SageWave {
  const SageForwardCall* call;
  std::vector<float*> packed;  // by unit: SageKeys
  std::vector<UnitPart> parts;
  float* scratch;
  size_t scratch_floats;

  const Unit& unit(size_t index) const { return call->operands->units[index]; }
  SageKeys keys(size_t index) const { return SageKeys(*call->problem, unit(index), packed[index]); }
};

// Step 1 of a wave: one block of keys and values of one unit.
struct SagePackTask {
  const SageWave* wave;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = wave->parts[static_cast<size_t>(index)];
    const Unit& unit = wave->unit(part.unit);
    const auto begin = static_cast<size_t>(part.part * kBlockK);
    const auto end =
        static_cast<size_t>(std::min<int64_t>(unit.sequence.k_len, (part.part + 1) * kBlockK));
    pack_sage_keys(*wave->call->problem, unit, wave->call->operands->quantized[part.unit], begin,
                   end, wave->scratch + static_cast<size_t>(thread) * wave->scratch_floats,
                   wave->keys(part.unit));
  }
};

// Step 2: one row tile from first key to last.
struct SageTileTask {
  const SageWave* wave;

  void operator()(int64_t index, int thread) const {
    const UnitPart part = wave->parts[static_cast<size_t>(index)];
    sage_forward_tile(*wave->call, wave->unit(part.unit),
                      wave->call->operands->quantized[part.unit], part.part, wave->keys(part.unit),
                      wave->scratch + static_cast<size_t>(thread) * wave->scratch_floats);
  }
};

void sage_forward(const SageForwardCall& call) {
  const Problem& problem = *call.problem;
  const std::vector<Unit>& units = call.operands->units;
  std::vector<size_t> floats(units.size());
  for (size_t u = 0; u < units.size(); ++u) {
    floats[u] = SageKeys::floats(problem, units[u]);
  }
  const std::vector<Wave> waves = waves_of(floats, kWaveBudget);
  const Scratch packed(largest_wave(waves, floats));
  const size_t thread_floats =
      whole_lines(SageQueries::floats(problem) + ForwardBuffers::floats(problem));
  const Scratch threads(thread_floats * static_cast<size_t>(call.num_threads));
  SageWave wave{.call = &call,
                .packed = std::vector<float*>(units.size()),
                .parts = {},
                .scratch = threads.data(),
                .scratch_floats = thread_floats};
  for (const Wave& range : waves) {
    float* next = packed.data();
    for (size_t u = range.begin; u < range.end; ++u) {
      wave.packed[u] = next;
      next += floats[u];
    }
    wave.parts = blocks_of(units, range);
    run_tasks(static_cast<int64_t>(wave.parts.size()), call.num_threads, SagePackTask{&wave});
    wave.parts = tiles_longest_first(problem, units, range);
    run_tasks(static_cast<int64_t>(wave.parts.size()), call.num_threads, SageTileTask{&wave});
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(sage_forward);

void sage_fwd_cpu(const SageForwardCall& call) { HWY_DYNAMIC_DISPATCH(sage_forward)(call); }

}  // namespace regard::cpu
#endif
