// One query row of attention in double: the keys it sees, their scores and weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/sequences.h"
#include "program/evaluate.h"
#include "reference/operands.h"
#include "regard/problem.h"

namespace regard::reference {

// Which row: `query` and all keys count from the first ones of the sequence.
struct RowPosition {
  core::Sequence sequence;
  int64_t head = 0;  // query head
  int64_t query = 0;
};

// One query head of one sequence, ready to be asked for rows.
struct Head {
  Head(const Problem& the_problem, const core::Sequence& sequence, int64_t head);

  const Problem& problem;
  HeadOperands operands;
  std::optional<program::Evaluator> score_program, mask_program;
};

// A key that the row sees, with the quantities of attention.h's formulas.
struct SeenKey {
  int64_t key = 0;
  double capped = 0;          // c: the score after softcap
  double slope = 1;           // d x / d s: of softcap and score program
  double score = 0;           // x
  double weight = 0;          // p
  double rounded_weight = 0;  // p as P V takes it: see quantize.h
  double multiplier = 1;      // m: 0 where dropout takes the key away
};

struct Row {
  std::vector<SeenKey> keys;  // empty for a fully masked row
  double sink_weight = 0;     // p of the sink
  double lse = -std::numeric_limits<double>::infinity();
};

// Scale of the scores; 0 in the problem stands for 1/sqrt(D).
double scale_of(const Problem& problem);

Row softmax_row(Head& head, const RowPosition& at);

}  // namespace regard::reference
