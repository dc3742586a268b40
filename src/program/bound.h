// Memory of a bound program, and the words in which faults are told.
#pragma once

#include <cstdint>
#include <string>

#include "program/code.h"
#include "regard/problem.h"

namespace regard::program {

inline double element(const ProgramTensor& tensor, int64_t offset) {
  return tensor.is_integer ? static_cast<double>(static_cast<const int32_t*>(tensor.data)[offset])
                           : static_cast<double>(static_cast<const float*>(tensor.data)[offset]);
}

// Of a tensor with extents of 1 to 2^31 - 1; 2^62 stands for more.
inline int64_t num_elements(const ProgramTensor& tensor) {
  int64_t count = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) {
    count = count > (int64_t{1} << 31) ? int64_t{1} << 62 : count * tensor.shape[axis];
  }
  return count;
}

// Throws Error(invalid_argument) where program and tensors do not fit: another kind, a tensor that
// is missing or has another element type or rank, an empty axis or no memory where the program
// reads, or a span of 2^31 elements or more. Unknown elements are refused, or taken for f32.
enum class UnknownElements : uint8_t { refused, real };
void check_binding(const BoundProgram& bound, ProgramKind kind,
                   UnknownElements unknown = UnknownElements::refused);

// "score program, character 9: "
std::string place_of(ProgramKind kind, size_t position);

}  // namespace regard::program
