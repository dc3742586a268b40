// What a Program is compiled to: one graph that computes its value, its derivatives and the
// conditions of its checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/graph.h"
#include "program/schedule.h"
#include "regard/program.h"

namespace regard::program {

// One element of a captured f32 tensor that the program reads, and d result / d element.
struct ReadDerivative {
  int32_t node = -1;  // the read
  int32_t value = -1;
};

// What must hold at a pair where node `guard` is true.
struct Check {
  enum class Kind : uint8_t { index, position, divisor };
  Kind kind = Kind::index;
  int32_t guard = -1;
  int32_t operand = -1;  // the index or the divisor
  int32_t tensor = -1, axis = 0;
  size_t position = 0;  // in the text; 0 from C++
};

class Code {
 public:
  Code(ProgramKind kind_of_program, const Value& value, const std::vector<TensorInfo>& list);

  ProgramKind kind;
  Value result;
  std::vector<TensorInfo> tensors;
  Graph graph;
  int32_t root = -1;
  int32_t d_score = -1;  // -1: zero everywhere
  std::vector<ReadDerivative> d_reads;
  std::vector<Check> checks;

  // Orders of evaluation for the vectorised back ends.
  Schedule value_schedule;     // root
  Schedule gradient_schedule;  // root and d_score
  Schedule d_reads_schedule;   // all d_reads
};

// More nodes than this are refused, so that time and memory of an evaluation are bounded.
inline constexpr int32_t kMaxOperations = 1024;

}  // namespace regard::program
