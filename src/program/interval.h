// Interval arithmetic: what values a program can take over a box of pairs. Sound for the f32
// arithmetic of the back ends: bounds of + - * / are rounded as f32 is, those of functions widened
// by more than their error.
#pragma once

#include <cstdint>
#include <vector>

#include "program/code.h"
#include "regard/problem.h"

namespace regard::program {

// Values between lo and hi (both included; maybe infinite), or NaN where `has_nan`.
struct Interval {
  double lo = 0.0, hi = 0.0;
  bool has_nan = false;

  bool is_point() const { return lo == hi && !has_nan; }
  bool can_be_zero() const { return lo <= 0.0 && hi >= 0.0; }
  bool can_be_true() const { return lo != 0.0 || hi != 0.0 || has_nan; }
  bool can_be_false() const { return lo <= 0.0 && hi >= 0.0; }
};

// Pairs of one head of one sequence; all bounds included.
struct Box {
  int32_t b = 0, h_lo = 0, h_hi = 0, q_lo = 0, q_hi = 0, kv_lo = 0, kv_hi = 0;
  int32_t q_len = 1, kv_len = 1, doc = 0;

  int64_t num_queries() const { return int64_t{q_hi} - q_lo + 1; }
  int64_t num_keys() const { return int64_t{kv_hi} - kv_lo + 1; }
};

// Evaluates a bound program over boxes. Not thread-safe: one for each thread.
class IntervalEvaluator {
 public:
  explicit IntervalEvaluator(const BoundProgram& program);

  // Computes the nodes up to `last` over the box.
  void run(const Box& box, int32_t last);
  const Interval& at(int32_t node) const { return values_[static_cast<size_t>(node)]; }
  // Of the result over a box.
  const Interval& result(const Box& box) {
    run(box, code_.root);
    return at(code_.root);
  }

 private:
  Interval read(const Node& node);
  const Interval& range_of(int32_t tensor);

  const Code& code_;
  BoundProgram bound_;
  std::vector<Interval> values_;
  std::vector<Interval> ranges_;  // of whole tensors
  std::vector<uint8_t> has_range_;
};

}  // namespace regard::program
