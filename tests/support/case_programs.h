// Score and mask programs of generated cases, with the tensors they read.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/problem.h"
#include "regard/program.h"

namespace regard::testing {

inline constexpr int kNumCasePrograms = 5;

// Program `number` (1 .. kNumCasePrograms; 0 = none) for `q_heads` heads, tensors drawn from
// `seed`.
class CasePrograms {
 public:
  CasePrograms(int number, int64_t q_heads, uint32_t seed);
  CasePrograms(const CasePrograms&) = delete;
  CasePrograms& operator=(const CasePrograms&) = delete;

  void put_into(Problem& problem) const;

 private:
  void add_tensor(const std::vector<int64_t>& shape, uint32_t seed);

  std::vector<Program> score_, mask_;  // one or none
  std::vector<std::vector<float>> values_;
  std::vector<ProgramTensor> tensors_;
};

// Elements of a tensor of a program.
int64_t num_elements(const ProgramTensor& tensor);

}  // namespace regard::testing
