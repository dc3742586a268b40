// What a mask program says about a box of pairs, without asking every pair where intervals decide.
#pragma once

#include "program/evaluate.h"
#include "program/interval.h"
#include "regard/problem.h"

namespace regard::program {

enum class Verdict : uint8_t { none, some, all };

// The box of all pairs of some heads of a sequence.
Box box_of(const Problem& problem, const core::Sequence& sequence, int64_t first_head,
           int64_t last_head);

class MaskDecider {
 public:
  explicit MaskDecider(const BoundProgram& mask) : intervals_(mask), evaluator_(mask) {}

  // By intervals alone: `some` means undecided.
  Verdict bounds(const Box& box);
  // Exact: undecided boxes are halved, and asked pair by pair from 32 pairs down. Stops as soon as
  // a pair that is seen and one that is not are known.
  Verdict decide(const Box& box);

 private:
  struct Seen {
    bool any = false, all = true;
  };
  void look(const Box& box, Seen& seen);
  void ask_pairs(const Box& box, Seen& seen);

  IntervalEvaluator intervals_;
  Evaluator evaluator_;
};

// The two halves of a box along queries or keys, whichever are more.
std::pair<Box, Box> halves_of(const Box& box);

}  // namespace regard::program
