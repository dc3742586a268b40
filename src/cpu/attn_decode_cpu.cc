#include "cpu/attn_decode_cpu.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"

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

namespace {

// O and LSE of rows that belong to no document.
void write_empty_row(const ForwardOutputs& outputs, int64_t seq) {
  for (int64_t head = 0; head < outputs.o.heads; ++head) {
    const int64_t row = core::row_offset(outputs.o, 0, seq, head);
    for (int64_t i = 0; i < outputs.o.dim; ++i) {
      core::store(outputs.o.data, outputs.o.dtype, row + i, 0.0f);
    }
    if (outputs.lse.data != nullptr) {
      outputs.lse.data[head * outputs.lse.stride_head + seq] =
          -std::numeric_limits<float>::infinity();
    }
  }
}

void write_unowned_rows(const Problem& problem, const ForwardOutputs& outputs) {
  if (problem.documents.q_lengths == nullptr) {
    return;
  }
  std::vector<bool> is_owned(static_cast<size_t>(problem.q.seq));
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    std::fill_n(is_owned.begin() + sequence.q_begin, sequence.q_len, true);
  }
  for (int64_t seq = 0; seq < problem.q.seq; ++seq) {
    if (!is_owned[static_cast<size_t>(seq)]) {
      write_empty_row(outputs, seq);
    }
  }
}

}  // namespace

void attn_decode_cpu(const ForwardCall& call) {
  write_unowned_rows(*call.problem, *call.outputs);
  HWY_DYNAMIC_DISPATCH(decode)(call);
}

}  // namespace regard::cpu
#endif
