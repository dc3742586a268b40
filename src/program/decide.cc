#include "program/decide.h"

#include <utility>

namespace regard::program {
namespace {

constexpr int64_t kPairsToAsk = 32;  // asking a pair costs about a third of bounding a box

}  // namespace

Box box_of(const Problem& problem, const core::Sequence& sequence, int64_t first_head,
           int64_t last_head) {
  const ProgramPoint point = point_of(problem, sequence, first_head, 0, 0);
  return {.b = point.b,
          .h_lo = point.h,
          .h_hi = static_cast<int32_t>(last_head),
          .q_lo = point.q,
          .q_hi = point.q_len - 1,
          .kv_lo = 0,
          .kv_hi = point.kv_len - 1,
          .q_len = point.q_len,
          .kv_len = point.kv_len,
          .doc = point.doc};
}

std::pair<Box, Box> halves_of(const Box& box) {
  std::pair halves{box, box};
  if (box.num_queries() >= box.num_keys()) {
    const int32_t middle = box.q_lo + (box.q_hi - box.q_lo) / 2;
    halves.first.q_hi = middle;
    halves.second.q_lo = middle + 1;
  } else {
    const int32_t middle = box.kv_lo + (box.kv_hi - box.kv_lo) / 2;
    halves.first.kv_hi = middle;
    halves.second.kv_lo = middle + 1;
  }
  return halves;
}

Verdict MaskDecider::bounds(const Box& box) {
  const Interval& result = intervals_.result(box);
  if (!result.can_be_false()) {
    return Verdict::all;
  }
  return result.can_be_true() ? Verdict::some : Verdict::none;
}

void MaskDecider::ask_pairs(const Box& box, Seen& seen) {
  ProgramPoint point{.b = box.b, .q_len = box.q_len, .kv_len = box.kv_len, .doc = box.doc};
  for (point.h = box.h_lo; point.h <= box.h_hi; ++point.h) {
    for (point.q = box.q_lo; point.q <= box.q_hi; ++point.q) {
      for (point.kv = box.kv_lo; point.kv <= box.kv_hi; ++point.kv) {
        const bool sees = evaluator_.value(point) != 0.0;
        seen.any = seen.any || sees;
        seen.all = seen.all && sees;
        if (seen.any && !seen.all) {
          return;
        }
      }
    }
  }
}

void MaskDecider::look(const Box& box, Seen& seen) {
  if (seen.any && !seen.all) {
    return;
  }
  const Verdict verdict = bounds(box);
  if (verdict != Verdict::some) {
    seen.any = seen.any || verdict == Verdict::all;
    seen.all = seen.all && verdict == Verdict::all;
    return;
  }
  if (box.num_queries() * box.num_keys() <= kPairsToAsk) {
    ask_pairs(box, seen);
    return;
  }
  const auto [first, second] = halves_of(box);
  look(first, seen);
  look(second, seen);
}

Verdict MaskDecider::decide(const Box& box) {
  Seen seen;
  look(box, seen);
  if (!seen.any) {
    return Verdict::none;
  }
  return seen.all ? Verdict::all : Verdict::some;
}

}  // namespace regard::program
