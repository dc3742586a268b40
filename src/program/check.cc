#include "program/check.h"

#include <algorithm>
#include <optional>
#include <string>

#include "core/block_mask.h"
#include "core/mask.h"
#include "core/sequences.h"
#include "program/bound.h"
#include "program/decide.h"
#include "program/evaluate.h"
#include "program/interval.h"
#include "regard/error.h"

namespace regard::program {
namespace {

// Which keys the masks of a problem leave to a query, beside its mask program.
class Visibility {
 public:
  explicit Visibility(const Problem& problem) : problem_(problem) {}

  // Whether no pair of the box is inside causal mask and window; false where that is not clear.
  bool misses(const core::Sequence& sequence, const Box& box) const {
    const auto keys_of = [&](int64_t query) {
      return core::key_interval(problem_.causal, problem_.window, sequence.q_len, sequence.k_len,
                                query);
    };
    // Both ends of the interval rise with the query.
    const core::KeyInterval first = keys_of(query_of(box.q_lo)), last = keys_of(query_of(box.q_hi));
    if (first.is_empty() || last.is_empty()) {
      return false;
    }
    return box.kv_hi < first.lo || box.kv_lo >= last.hi;
  }

  bool sees(const core::Sequence& sequence, const ProgramPoint& point) const {
    return core::key_interval(problem_, sequence, point.h, query_of(point.q)).contains(point.kv) &&
           mask_sees(sequence, point) && block_of(sequence, point) != Block::masked;
  }
  // Whether a block mask spares the pair its mask program.
  bool is_in_full_block(const core::Sequence& sequence, const ProgramPoint& point) const {
    return block_of(sequence, point) == Block::full;
  }

 private:
  enum class Block : uint8_t { masked, partial, full };

  // Query of the call that stands at a program's position.
  int64_t query_of(int64_t position) const { return position - problem_.first_query; }

  bool mask_sees(const core::Sequence& sequence, const ProgramPoint& point) const {
    const MaskTensor& mask = problem_.mask;
    return mask.data == nullptr ||
           mask.data[sequence.batch * mask.stride_batch + point.h * mask.stride_head +
                     (sequence.q_begin + query_of(point.q)) * mask.stride_q +
                     (sequence.k_begin + point.kv) * mask.stride_k] != 0;
  }

  Block block_of(const core::Sequence& sequence, const ProgramPoint& point) const {
    const BlockMaskView& blocks = problem_.block_mask;
    if (blocks.row_offsets == nullptr) {
      return Block::partial;
    }
    const core::BlockRow row =
        core::block_row_at(blocks, sequence.batch, point.h, sequence.q_begin + query_of(point.q));
    const int64_t column = (sequence.k_begin + point.kv) / blocks.block_k;
    if (!row.lists(column)) {
      return Block::masked;
    }
    const bool is_full = row.is_full != nullptr && row.is_full[row.lower_bound(column)] != 0;
    return is_full ? Block::full : Block::partial;
  }

  const Problem& problem_;
};

// All checks of one program over one problem.
class ProgramCheck {
 public:
  ProgramCheck(const Problem& problem, const BoundProgram& bound)
      : problem_(problem),
        bound_(bound),
        code_(bound.program->code()),
        visibility_(problem),
        intervals_(bound),
        evaluator_(bound) {
    // A score program is asked where the mask program says yes.
    if (code_.kind == ProgramKind::score && problem.mask_program.program != nullptr) {
      mask_.emplace(problem.mask_program);
    }
  }

  void run() {
    for (const Check& check : code_.checks) {
      const Node& guard = code_.graph.node(check.guard);
      const Node& operand = code_.graph.node(check.operand);
      depends_ = guard.depends | operand.depends;
      for (int64_t index = 0; index < core::num_sequences(problem_); ++index) {
        sequence_ = core::sequence_at(problem_, index);
        const Box box = box_of(problem_, sequence_, 0, problem_.q.heads - 1);
        if (box.q_hi >= 0 && box.kv_hi >= 0 && box.h_hi >= 0) {
          search(check, box);
        }
      }
    }
  }

 private:
  int64_t limit_of(const Check& check) const {
    if (check.kind == Check::Kind::position) {
      return std::max(problem_.first_query + sequence_.q_len, sequence_.k_len);
    }
    return bound_.tensors[check.tensor].shape[check.axis];
  }

  bool is_allowed(const Check& check, const Interval& operand) const {
    if (check.kind == Check::Kind::divisor) {
      return !operand.can_be_zero() && !operand.has_nan;
    }
    return operand.lo >= 0.0 && operand.hi < static_cast<double>(limit_of(check));
  }

  // Whether intervals show that no visible pair of the box can fail.
  bool is_proved(const Check& check, const Box& box) {
    if (visibility_.misses(sequence_, box)) {
      return true;
    }
    intervals_.run(box, std::max(check.guard, check.operand));
    if (!intervals_.at(check.guard).can_be_true() ||
        is_allowed(check, intervals_.at(check.operand))) {
      return true;
    }
    // A full block of a block mask does not ask the mask program.
    return mask_ && problem_.block_mask.row_offsets == nullptr &&
           mask_->bounds(box) == Verdict::none;
  }

  void search(const Check& check, const Box& box) {
    if (is_proved(check, box)) {
      return;
    }
    Box first = box, second = box;
    if (!split(first, second)) {
      search_pairs(check, box);
      return;
    }
    search(check, first);
    search(check, second);
  }

  // Halves the longest axis that the check depends on; false when none is left.
  bool split(Box& first, Box& second) const {
    const auto length = [&](uint8_t axis, int32_t lo, int32_t hi) {
      return (depends_ & axis) != 0 ? hi - lo : 0;
    };
    const int32_t queries = length(kOnQuery, first.q_lo, first.q_hi);
    const int32_t keys = length(kOnKey, first.kv_lo, first.kv_hi);
    const int32_t heads = length(kOnHead, first.h_lo, first.h_hi);
    const auto halve = [](int32_t& first_hi, int32_t& second_lo, int32_t lo) {
      first_hi = lo + (first_hi - lo) / 2;
      second_lo = first_hi + 1;
    };
    if (heads > 0) {
      halve(first.h_hi, second.h_lo, first.h_lo);
    } else if (queries > 0 && queries >= keys) {
      halve(first.q_hi, second.q_lo, first.q_lo);
    } else if (keys > 0) {
      halve(first.kv_hi, second.kv_lo, first.kv_lo);
    } else {
      return false;
    }
    return true;
  }

  // The check has one answer in the whole box; it counts if one of the pairs is visible.
  void search_pairs(const Check& check, const Box& box) {
    ProgramPoint point{.b = box.b,
                       .h = box.h_lo,
                       .q = box.q_lo,
                       .kv = box.kv_lo,
                       .q_len = box.q_len,
                       .kv_len = box.kv_len,
                       .doc = box.doc};
    if (holds(check, point)) {
      return;
    }
    for (point.h = box.h_lo; point.h <= box.h_hi; ++point.h) {
      for (point.q = box.q_lo; point.q <= box.q_hi; ++point.q) {
        for (point.kv = box.kv_lo; point.kv <= box.kv_hi; ++point.kv) {
          if (is_visible(point)) {
            fail(check, point);
          }
        }
      }
    }
  }

  // Exactly, where the check does not depend on the score; what does was not proved.
  bool holds(const Check& check, const ProgramPoint& point) {
    const bool guard_waits = (code_.graph.node(check.guard).depends & kOnScore) != 0;
    const bool operand_waits = (code_.graph.node(check.operand).depends & kOnScore) != 0;
    if (!guard_waits && evaluator_.node(point, check.guard) == 0.0) {
      return true;
    }
    if (operand_waits) {
      return false;
    }
    const double value = evaluator_.node(point, check.operand);
    return is_allowed(check, {value, value, value != value});
  }

  bool is_visible(const ProgramPoint& point) {
    if (!visibility_.sees(sequence_, point)) {
      return false;
    }
    if (problem_.mask_program.program == nullptr || code_.kind == ProgramKind::mask) {
      return code_.kind == ProgramKind::score || !visibility_.is_in_full_block(sequence_, point);
    }
    return visibility_.is_in_full_block(sequence_, point) || mask_value(point) != 0.0;
  }

  double mask_value(const ProgramPoint& point) {
    return Evaluator(problem_.mask_program).value(point);
  }

  [[noreturn]] void fail(const Check& check, const ProgramPoint& point) {
    const bool is_known = (code_.graph.node(check.operand).depends & kOnScore) == 0;
    const std::string value =
        is_known ? std::to_string(static_cast<int64_t>(evaluator_.node(point, check.operand)))
                 : "that depends on the score";
    std::string message = place_of(code_.kind, check.position);
    if (check.kind == Check::Kind::divisor) {
      message += "division by zero";
    } else if (check.kind == Check::Kind::position) {
      message +=
          "doc[" + value + "] is outside the positions 0 to " + std::to_string(limit_of(check) - 1);
    } else {
      message += "index " + value + " on axis " + std::to_string(check.axis) + " of tensor '" +
                 code_.tensors[static_cast<size_t>(check.tensor)].name +
                 (is_known ? "' is outside 0 to " : "' cannot be shown to stay inside 0 to ") +
                 std::to_string(limit_of(check) - 1);
    }
    throw Error(ErrorCode::invalid_argument,
                message + " (batch row " + std::to_string(point.b) + ", document " +
                    std::to_string(point.doc) + ", head " + std::to_string(point.h) + ", query " +
                    std::to_string(point.q) + ", key " + std::to_string(point.kv) +
                    "); clamp it, guard it with c ? x : y, or mask such pairs");
  }

  const Problem& problem_;
  BoundProgram bound_;
  const Code& code_;
  Visibility visibility_;
  IntervalEvaluator intervals_;
  Evaluator evaluator_;
  std::optional<MaskDecider> mask_;
  core::Sequence sequence_;
  uint8_t depends_ = 0;  // of the check at hand
};

}  // namespace

void check_programs(const Problem& problem) {
  if (problem.mask_program.program != nullptr) {
    check_binding(problem.mask_program, ProgramKind::mask);
    ProgramCheck(problem, problem.mask_program).run();
  }
  if (problem.score_program.program != nullptr) {
    check_binding(problem.score_program, ProgramKind::score);
    ProgramCheck(problem, problem.score_program).run();
  }
}

}  // namespace regard::program
