#include "cpu/attn_decode_cpu.h"

#include <atomic>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"
#include "cpu/unowned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attn_decode_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/attn_decode_cpu-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// One part; whoever ends a group's last part merges the group, in the order of its parts.
struct PartTask {
  const ForwardCall* call;
  const DecodePlan* plan;
  float* partials;
  size_t partial_floats;
  float* scratch;
  size_t scratch_floats;
  std::atomic<size_t>* parts_left;  // by group

  void operator()(int64_t index, int thread) const {
    const KeyPart& part = plan->parts[static_cast<size_t>(index)];
    const RowGroup& group = plan->groups[part.group];
    const Unit& unit = plan->units[group.unit];
    const DecodeBuffers buffers(*call->problem,
                                scratch + static_cast<size_t>(thread) * scratch_floats);
    decode_part(*call->problem, unit, group, part.keys, buffers,
                DecodePartial(partials + static_cast<size_t>(index) * partial_floats));
    if (parts_left[part.group].fetch_sub(1, std::memory_order_acq_rel) != 1) {
      return;
    }
    for (int64_t row = 0; row < group.num_rows; ++row) {
      merge_row(*call, unit, group, row, partials, partial_floats);
    }
  }
};

void decode(const ForwardCall& call) {
  const Problem& problem = *call.problem;
  const DecodePlan plan = decode_plan(problem);
  std::vector<std::atomic<size_t>> parts_left(plan.groups.size());
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    parts_left[g].store(plan.groups[g].num_parts, std::memory_order_relaxed);
  }
  const size_t partial_floats = whole_lines(DecodePartial::floats(problem));
  const size_t thread_floats = whole_lines(DecodeBuffers::floats(problem));
  const Scratch partials(plan.parts.size() * partial_floats);
  const Scratch scratch(static_cast<size_t>(call.num_threads) * thread_floats);
  run_tasks(static_cast<int64_t>(plan.parts.size()), call.num_threads,
            PartTask{&call, &plan, partials.data(), partial_floats, scratch.data(), thread_floats,
                     parts_left.data()});
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(decode);

void attn_decode_cpu(const ForwardCall& call) {
  write_unowned_outputs(*call.problem, *call.outputs);
  HWY_DYNAMIC_DISPATCH(decode)(call);
}

}  // namespace regard::cpu
#endif
