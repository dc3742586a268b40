// One operation on values held as doubles: bools are 0 and 1, int32 and f32 are exact.
#pragma once

#include <cstdint>

#include "program/op.h"
#include "regard/program.h"

namespace regard::program {

// Result of `op` (no input, constant or read) on operands of type `operand_type`. Integers wrap;
// divided by zero they are 0. Reals are computed in double.
double apply(Op op, ValueType operand_type, const double* operands);

inline double rounded_to_f32(double x) { return static_cast<double>(static_cast<float>(x)); }
double wrapped_to_int32(int64_t x);

}  // namespace regard::program
