// Random programs as texts, and tensors for them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "regard/program.h"

namespace regard::test {

// Tensors that random programs read: "row" f32 [4], "table" f32 [3, 5], "bucket" int32 [16].
class RandomTensors {
 public:
  explicit RandomTensors(uint32_t seed);
  static std::vector<TensorInfo> infos();
  const std::vector<ProgramTensor>& bound() const { return bound_; }
  BoundProgram bind(const Program& program) const {
    return {&program, bound_.data(), static_cast<int32_t>(bound_.size())};
  }

 private:
  std::vector<float> row_, table_;
  std::vector<int32_t> bucket_;
  std::vector<ProgramTensor> bound_;
};

struct RandomProgramOptions {
  int depth = 4;
  bool is_smooth = false;  // only what has a derivative everywhere near its arguments
  bool has_score = true;
  bool is_total = true;  // no integer division, no index out of range
};

// An expression of the program language with the given number of levels.
std::string random_program(std::mt19937& random, const RandomProgramOptions& options);

}  // namespace regard::test
