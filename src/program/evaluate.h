// Plain evaluation of programs in double: what the reference computes.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sequences.h"
#include "regard/problem.h"
#include "regard/program.h"

namespace regard::program {

// The pair (query, key) of a sequence, both counted from its first ones, as programs see it.
ProgramPoint point_of(const Problem& problem, const core::Sequence& sequence, int64_t head,
                      int64_t query, int64_t key, double score = 0.0);

// d result / d element of a captured f32 tensor at one point. `element` counts in the contiguous
// tensor ([shape[0], shape[1], ...]), as BackwardTensors::d_tensors does.
struct ElementGradient {
  int32_t tensor = 0;
  int64_t element = 0;
  double value = 0.0;
};

// One thread's evaluator of one program; keeps its scratch between points.
class Evaluator {
 public:
  explicit Evaluator(const BoundProgram& program);

  double value(const ProgramPoint& point);    // of a score program; a mask's 0 or 1
  double d_score(const ProgramPoint& point);  // d result / d score
  // Appends nothing for a program that reads no f32 tensor. One element may appear several times:
  // its gradient is the sum.
  void d_tensors(const ProgramPoint& point, std::vector<ElementGradient>& gradients);
  double node(const ProgramPoint& point, int32_t index);  // of the program's graph (code.h)

 private:
  void run(const ProgramPoint& point, int32_t last);
  int64_t index_of(int32_t node, int axis) const;

  BoundProgram bound_;
  std::vector<double> values_;
};

}  // namespace regard::program
