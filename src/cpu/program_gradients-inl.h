// Gradients of captured tensors from one strip of scores: element t[i] gets dX * d program / d t[i]
// from every pair that reads it.
#if defined(REGARD_CPU_PROGRAM_GRADIENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_PROGRAM_GRADIENTS_INL_H_
#undef REGARD_CPU_PROGRAM_GRADIENTS_INL_H_
#else
#define REGARD_CPU_PROGRAM_GRADIENTS_INL_H_
#endif

#include "cpu/program_gradients.h"
#include "cpu/program_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Where one read's gradient goes.
struct ReadSum {
  const program::ReadDerivative* read = nullptr;
  const ProgramTensor* tensor = nullptr;
  double* sums = nullptr;   // of the slot
  int64_t strides[4] = {};  // of the contiguous tensor
  bool is_row = true;  // the element depends on the row alone: lanes are summed over keys first
  HWY_ALIGN float lane_sums[kStripLanes] = {};
};

inline ReadSum read_sum(const ScoreStrip& strip, const program::ReadDerivative& read, int slot,
                        TensorSums& sums) {
  const BoundProgram& bound = strip.problem->score_program;
  const program::Graph& graph = bound.program->code().graph;
  const program::Node& node = graph.node(read.node);
  ReadSum sum;
  sum.read = &read;
  sum.tensor = &bound.tensors[node.tensor];
  sum.sums = sums.slot(node.tensor, slot);
  int64_t stride = 1;
  for (int axis = node.num_operands - 1; axis >= 0; --axis) {
    sum.strides[axis] = stride;
    stride *= sum.tensor->shape[axis];
    const program::Node& index = graph.node(node.operands[static_cast<size_t>(axis)]);
    sum.is_row = sum.is_row && program::extent_of(index) == program::Extent::row;
  }
  return sum;
}

// dX * derivative; a pair without gradient gives 0 whatever the derivative is there.
HWY_INLINE Vec pair_gradient(Vec d_out, Vec derivative) {
  const auto has_gradient = hn::Ne(d_out, hn::Zero(F32()));
  return hn::IfThenElseZero(has_gradient, hn::Mul(d_out, derivative));
}

inline void add_chunk(const ScoreStrip& strip, const StripProgram& program, int64_t key,
                      int64_t num_keys, const float* d_out, ReadSum& sum) {
  const F32 d;
  const program::Node& node =
      strip.problem->score_program.program->code().graph.node(sum.read->node);
  const Source derivative = program.values_of(sum.read->value, key);
  Source indices[program::kMaxOperands];
  for (int axis = 0; axis < node.num_operands; ++axis) {
    indices[axis] = program.values_of(node.operands[static_cast<size_t>(axis)], key);
  }
  const int64_t live_lanes = strip.live_lanes();
  HWY_ALIGN float values[kLanes];
  HWY_ALIGN int32_t offsets[kLanes];
  for (int64_t i = 0; i < num_keys; ++i) {
    for (int64_t lane = 0; lane < live_lanes; lane += kLanes) {
      const int64_t v = lane / static_cast<int64_t>(kLanes);
      const float* at = d_out + (key + i - strip.base) * kBlockQ + strip.lane_begin + lane;
      const Vec gradient = pair_gradient(hn::Load(d, at), derivative.load(i, v));
      if (sum.is_row) {
        float* lane_sums = sum.lane_sums + lane;
        hn::Store(hn::Add(hn::Load(d, lane_sums), gradient), d, lane_sums);
        continue;
      }
      hn::Store(gradient, d, values);
      hn::Store(offset_of(*sum.tensor, indices, sum.strides, i, v), I32(), offsets);
      const int64_t live = std::min<int64_t>(kLanes, live_lanes - lane);
      for (int64_t l = 0; l < live; ++l) {
        sum.sums[offsets[l]] += static_cast<double>(values[l]);
      }
    }
  }
}

// What the lanes of a read that depends on the row alone have gathered.
inline void add_lanes(const ScoreStrip& strip, const StripProgram& program, const ReadSum& sum) {
  const program::Node& node =
      strip.problem->score_program.program->code().graph.node(sum.read->node);
  Source indices[program::kMaxOperands];
  for (int axis = 0; axis < node.num_operands; ++axis) {
    indices[axis] = program.values_of(node.operands[static_cast<size_t>(axis)], strip.key_lo);
  }
  HWY_ALIGN int32_t offsets[kStripLanes];
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    hn::Store(offset_of(*sum.tensor, indices, sum.strides, 0, lane / static_cast<int64_t>(kLanes)),
              I32(), offsets + lane);
  }
  for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
    sum.sums[offsets[lane]] += static_cast<double>(sum.lane_sums[lane]);
  }
}

// Reads whose sums are kept at the same time (2 KiB on the stack).
inline constexpr size_t kReadsAtOnce = 8;

// Adds one strip's part. `raw`: scores before the program, log2 units; `d_out`: gradient of the
// program's result, P * (dP - delta), 0 where the pair is masked; both with the strip's strides.
// The strips of one slot must come in the same order whatever the threads.
inline void add_tensor_gradients(const ScoreStrip& strip, const float* raw, const float* d_out,
                                 int slot, TensorSums& sums, float* memory) {
  const BoundProgram& bound = strip.problem->score_program;
  const program::Code& code = bound.program->code();
  StripProgram program(strip, bound, code.d_reads_schedule, raw, memory);
  for (size_t first = 0; first < code.d_reads.size(); first += kReadsAtOnce) {
    const size_t count = std::min(kReadsAtOnce, code.d_reads.size() - first);
    ReadSum reads[kReadsAtOnce];
    for (size_t i = 0; i < count; ++i) {
      reads[i] = read_sum(strip, code.d_reads[first + i], slot, sums);
    }
    program.run([&](int64_t key, int64_t num_keys) {
      for (size_t i = 0; i < count; ++i) {
        if (reads[i].sums != nullptr) {
          add_chunk(strip, program, key, num_keys, d_out, reads[i]);
        }
      }
    });
    for (size_t i = 0; i < count; ++i) {
      if (reads[i].sums != nullptr && reads[i].is_row) {
        add_lanes(strip, program, reads[i]);
      }
    }
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
