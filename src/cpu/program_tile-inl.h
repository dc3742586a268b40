// Score and mask programs over a strip of a transposed score tile (ScoreStrip): an interpreter
// whose operations run on 8 keys x up to 2 vectors of rows at once.
//
// Extents  what depends on the query row alone is computed once a lane, what depends on the key
//          alone once a key with keys as lanes, the rest for every pair, chunk by chunk
//          (program/schedule.h).
// Memory   program_floats() floats: values of rows [slot][2 vectors], of keys [slot][kBlockK], of
//          pairs [slot][kChunkKeys][2 vectors]; a handful of slots stays in the first-level cache.
// Units    programs see the score itself; tiles hold it times log2(e).
// Order    softcap, apply_score_program, ALiBi, bias and mask tensors, apply_mask_program, limits.
#if defined(REGARD_CPU_PROGRAM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_PROGRAM_TILE_INL_H_
#undef REGARD_CPU_PROGRAM_TILE_INL_H_
#else
#define REGARD_CPU_PROGRAM_TILE_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/program_steps-inl.h"
#include "cpu/score_tensors-inl.h"
#include "program/code.h"
#include "program/evaluate.h"
#include "regard/program.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

inline constexpr int64_t kChunkKeys = 8;
inline constexpr size_t kPairSlot = kChunkKeys * kStripLanes;

inline size_t schedule_floats(const program::Schedule& schedule) {
  return static_cast<size_t>(schedule.num_row_slots) * kStripLanes +
         static_cast<size_t>(schedule.num_key_slots) * kBlockK +
         static_cast<size_t>(schedule.num_pair_slots) * kPairSlot;
}

// Scratch, aligned to 64 bytes, that each function of this file needs; 0 without programs.
inline size_t program_floats(const Problem& problem) {
  size_t floats = 0;
  for (const BoundProgram* bound : {&problem.score_program, &problem.mask_program}) {
    if (bound->program != nullptr) {
      const program::Code& code = bound->program->code();
      floats = std::max({floats, schedule_floats(code.value_schedule),
                         schedule_floats(code.gradient_schedule),
                         schedule_floats(code.d_reads_schedule)});
    }
  }
  return floats;
}

// One program on one strip.
class StripProgram {
 public:
  // Computes the values of rows and keys. `raw` are the scores that the program reads, in log2
  // units; unused by masks.
  StripProgram(const ScoreStrip& strip, const BoundProgram& bound,
               const program::Schedule& schedule, const float* raw, float* memory)
      : strip_(strip),
        bound_(bound),
        graph_(bound.program->code().graph),
        schedule_(schedule),
        raw_(raw),
        num_vectors_(strip.num_lanes / static_cast<int64_t>(kLanes)),
        rows_(memory),
        keys_(rows_ + static_cast<size_t>(schedule.num_row_slots) * kStripLanes),
        pairs_(keys_ + static_cast<size_t>(schedule.num_key_slots) * kBlockK) {
    const auto num_keys = static_cast<size_t>(strip.key_hi - strip.key_lo);
    num_key_vectors_ = static_cast<int64_t>((num_keys + kLanes - 1) / kLanes);
    for (const program::Step& step : schedule.steps) {
      if (step.extent == program::Extent::pair) {
        break;  // they come last
      }
      run_step(step, 0, 1);
    }
  }

  // Calls sink(key, num_keys) for chunks of the strip's keys, ascending; between, value_at() gives
  // the chunk's values.
  template <class Sink>
  void run(const Sink& sink) {
    for (int64_t key = strip_.key_lo; key < strip_.key_hi; key += kChunkKeys) {
      const int64_t num_keys = std::min(kChunkKeys, strip_.key_hi - key);
      for (const program::Step& step : schedule_.steps) {
        if (step.extent == program::Extent::pair) {
          run_step(step, key, num_keys);
        }
      }
      sink(key, num_keys);
    }
  }

  // Values of a node for pairs of the chunk that begins at `key`: load(i, v) is key + i, lanes v.
  Source values_of(int32_t node, int64_t key) const {
    return source(node, program::Extent::pair, key);
  }

 private:
  Source source(int32_t node, program::Extent reader, int64_t key) const {
    const program::Step& step =
        schedule_.steps[static_cast<size_t>(schedule_.place[static_cast<size_t>(node)])];
    const auto slot = static_cast<size_t>(step.slot);
    switch (step.extent) {
      case program::Extent::row: {
        // Keys read only rows that are alike in all lanes.
        const int64_t step_v = reader == program::Extent::key ? 0 : static_cast<int64_t>(kLanes);
        return {rows_ + slot * kStripLanes, 0, step_v, false};
      }
      case program::Extent::key:
        if (reader == program::Extent::key) {
          return {keys_ + slot * kBlockK, 0, static_cast<int64_t>(kLanes), false};
        }
        return {keys_ + slot * kBlockK + (key - strip_.key_lo), 0, 0, true};
      default:
        return {pairs_ + slot * kPairSlot, num_vectors_ * static_cast<int64_t>(kLanes),
                static_cast<int64_t>(kLanes), false};
    }
  }

  void run_step(const program::Step& step, int64_t key, int64_t num_keys) {
    const program::Node& node = graph_.node(step.node);
    const auto slot = static_cast<size_t>(step.slot);
    Region region{1, num_vectors_};
    float* out = rows_ + slot * kStripLanes;
    if (step.extent == program::Extent::key) {
      region = {1, num_key_vectors_};
      out = keys_ + slot * kBlockK;
    } else if (step.extent == program::Extent::pair) {
      region = {num_keys, num_vectors_};
      out = pairs_ + slot * kPairSlot;
    }
    if (node.num_operands == 0) {
      load_input(node, region, key, out);
      return;
    }
    Source operands[program::kMaxOperands];
    for (int i = 0; i < node.num_operands; ++i) {
      operands[i] = source(node.operands[static_cast<size_t>(i)], step.extent, key);
    }
    if (node.op == program::Op::read) {
      read_step(bound_.tensors[node.tensor], region, operands, out);
    } else {
      run_operation(node, graph_.node(node.operands[0]).type, region, operands, out);
    }
  }

  void load_input(const program::Node& node, const Region& region, int64_t key, float* out) const {
    const F32 d;
    if (node.op == program::Op::score) {
      const Vec ln2 = hn::Set(d, kLn2);
      fill(region, out, [&](int64_t i, int64_t v) {
        const float* at = raw_ + (key + i - strip_.base) * kBlockQ + strip_.lane_begin +
                          v * static_cast<int64_t>(kLanes);
        return hn::Mul(hn::Load(d, at), ln2);
      });
    } else if (node.op == program::Op::kv) {
      const I32 di;
      fill_int(region, out, [&](int64_t, int64_t v) {
        const int64_t first = strip_.key_lo + v * static_cast<int64_t>(kLanes);
        return hn::Iota(di, static_cast<int32_t>(first));
      });
    } else {
      const int64_t num_lanes = region.vectors * static_cast<int64_t>(kLanes);
      for (int64_t lane = 0; lane < num_lanes; ++lane) {
        out[lane] = row_input(node, lane);
      }
    }
  }

  // Constants and inputs of one lane as bits; lanes past the last row repeat it.
  float row_input(const program::Node& node, int64_t lane) const {
    if (node.op == program::Op::constant && node.type == ValueType::real) {
      return static_cast<float>(node.constant);
    }
    const int64_t row =
        strip_.tile->first_row + strip_.lane_begin + std::min(lane, strip_.live_lanes() - 1);
    const ProgramPoint point =
        program::point_of(*strip_.problem, strip_.unit->sequence, strip_.unit->head_of(row),
                          strip_.unit->query_of(row), 0);
    int32_t bits = 0;
    switch (node.op) {
      case program::Op::constant:
        bits = static_cast<int32_t>(node.constant);
        bits = node.type == ValueType::boolean ? -bits : bits;
        break;
      case program::Op::b:
        bits = point.b;
        break;
      case program::Op::h:
        bits = point.h;
        break;
      case program::Op::q:
        bits = point.q;
        break;
      case program::Op::q_len:
        bits = point.q_len;
        break;
      case program::Op::kv_len:
        bits = point.kv_len;
        break;
      default:
        bits = point.doc;
        break;
    }
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  const ScoreStrip& strip_;
  const BoundProgram& bound_;
  const program::Graph& graph_;
  const program::Schedule& schedule_;
  const float* raw_;
  int64_t num_vectors_;
  int64_t num_key_vectors_ = 0;
  float *rows_, *keys_, *pairs_;
};

// scores = program(raw), both in log2 units; raw may be scores. `derivative`, unless null, becomes
// d program / d score of every pair. All three have the strides of the strip.
inline void apply_score_program(const ScoreStrip& strip, const float* raw, float* scores,
                                float* derivative, float* memory) {
  const F32 d;
  const BoundProgram& bound = strip.problem->score_program;
  const program::Code& code = bound.program->code();
  const program::Schedule& schedule =
      derivative == nullptr ? code.value_schedule : code.gradient_schedule;
  StripProgram program(strip, bound, schedule, raw, memory);
  const Vec log2e = hn::Set(d, kLog2E);
  program.run([&](int64_t key, int64_t num_keys) {
    const Source value = program.values_of(code.root, key);
    const Source slope = derivative != nullptr && code.d_score >= 0
                             ? program.values_of(code.d_score, key)
                             : Source{};
    for (int64_t i = 0; i < num_keys; ++i) {
      for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
        const int64_t v = lane / static_cast<int64_t>(kLanes);
        hn::Store(hn::Mul(value.load(i, v), log2e), d,
                  strip.at(scores, key + i, strip.lane_begin + lane));
        if (derivative != nullptr) {
          hn::Store(slope.data == nullptr ? hn::Zero(d) : slope.load(i, v), d,
                    strip.at(derivative, key + i, strip.lane_begin + lane));
        }
      }
    }
  });
}

// Scores of pairs that the mask program hides become -inf.
inline void apply_mask_program(const ScoreStrip& strip, float* scores, float* memory) {
  const F32 d;
  const BoundProgram& bound = strip.problem->mask_program;
  const program::Code& code = bound.program->code();
  StripProgram program(strip, bound, code.value_schedule, nullptr, memory);
  const Vec masked = hn::Set(d, kMasked);
  program.run([&](int64_t key, int64_t num_keys) {
    const Source sees = program.values_of(code.root, key);
    for (int64_t i = 0; i < num_keys; ++i) {
      for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
        float* at = strip.at(scores, key + i, strip.lane_begin + lane);
        const auto is_seen = hn::MaskFromVec(sees.load(i, lane / static_cast<int64_t>(kLanes)));
        hn::Store(hn::IfThenElse(is_seen, hn::Load(d, at), masked), d, at);
      }
    }
  });
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
