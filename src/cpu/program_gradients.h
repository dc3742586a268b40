// Sums of the gradients of a score program's captured tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/bound.h"
#include "program/code.h"
#include "regard/problem.h"

namespace regard::cpu {

// `num_slots` copies of every f32 tensor whose gradient is asked for, in double. What is added to a
// slot, and in which order, must not depend on threads; then the result does not either.
class TensorSums {
 public:
  // `d_tensors` as in BackwardTensors; may be null. Throws std::bad_alloc.
  TensorSums(const Problem& problem, float* const* d_tensors, int num_slots)
      : tensors_(problem.score_program.tensors), num_slots_(num_slots) {
    const BoundProgram& bound = problem.score_program;
    if (bound.program == nullptr || d_tensors == nullptr) {
      return;
    }
    d_tensors_.assign(d_tensors, d_tensors + bound.num_tensors);
    for (int32_t i = 0; i < bound.num_tensors; ++i) {
      const bool is_asked = d_tensors_[static_cast<size_t>(i)] != nullptr;
      const auto count = static_cast<size_t>(is_asked ? program::num_elements(tensors_[i]) : 0);
      sums_.emplace_back(count * static_cast<size_t>(num_slots), 0.0);
    }
  }

  bool is_asked() const { return !d_tensors_.empty(); }

  // Sums of one tensor in one slot, contiguous in the tensor's shape; null when not asked for.
  double* slot(int32_t tensor, int slot) {
    if (!is_asked()) {
      return nullptr;
    }
    std::vector<double>& sums = sums_[static_cast<size_t>(tensor)];
    return sums.empty() ? nullptr
                        : sums.data() + sums.size() / static_cast<size_t>(num_slots_) *
                                            static_cast<size_t>(slot);
  }

  // The slots' sums, in ascending order of slots, to d_tensors.
  void write() const {
    for (size_t tensor = 0; tensor < d_tensors_.size(); ++tensor) {
      const size_t count = sums_[tensor].size() / static_cast<size_t>(num_slots_);
      for (size_t i = 0; i < count; ++i) {
        double sum = 0.0;
        for (size_t at = i; at < sums_[tensor].size(); at += count) {
          sum += sums_[tensor][at];
        }
        d_tensors_[tensor][i] = static_cast<float>(sum);
      }
    }
  }

 private:
  const ProgramTensor* tensors_;
  int num_slots_;
  std::vector<float*> d_tensors_;
  std::vector<std::vector<double>> sums_;
};

}  // namespace regard::cpu
