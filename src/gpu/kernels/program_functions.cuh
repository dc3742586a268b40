// What the generated text of programs (programs.cuh) is made of: the operations of the program
// language (regard/program.h) as functions.
#pragma once

#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

// Positions of a pair as programs count them: `query` and `q_len` include first_query.
struct ProgramPair {
  int batch, head, query, key, q_len, k_len, document;
};

struct ProgramScore {
  float score;
  float slope;  // d result / d score
};

// Integers wrap modulo 2^32; divided by zero they are 0.
REGARD_DEVICE int wrapping_add(int x, int y) {
  return static_cast<int>(static_cast<unsigned>(x) + static_cast<unsigned>(y));
}
REGARD_DEVICE int wrapping_subtract(int x, int y) {
  return static_cast<int>(static_cast<unsigned>(x) - static_cast<unsigned>(y));
}
REGARD_DEVICE int wrapping_multiply(int x, int y) {
  return static_cast<int>(static_cast<unsigned>(x) * static_cast<unsigned>(y));
}
REGARD_DEVICE int wrapping_divide(int x, int y) {
  return y == 0 ? 0 : y == -1 ? wrapping_subtract(0, x) : x / y;
}
REGARD_DEVICE int wrapping_modulo(int x, int y) { return y == 0 || y == -1 ? 0 : x % y; }
REGARD_DEVICE int wrapping_abs(int x) { return x < 0 ? wrapping_subtract(0, x) : x; }

template <typename T>
REGARD_DEVICE T first_minimum(T x, T y) {
  return y < x ? y : x;
}
template <typename T>
REGARD_DEVICE T first_maximum(T x, T y) {
  return x < y ? y : x;
}

// Of a real that is a whole number; saturates, NaN gives 0.
REGARD_DEVICE int index_of_real(float x) {
  return x != x                ? 0
         : x >= 2147483648.0f  ? 2147483647
         : x <= -2147483648.0f ? -2147483647 - 1
                               : static_cast<int>(x);
}

// Moved inside its axis: pairs that are masked and branches that are not taken may ask for
// anything.
REGARD_DEVICE int inside(const ProgramTensorView& tensor, int axis, int index) {
  const int last = tensor.shape[axis] - 1;
  return index < 0 ? 0 : index > last ? last : index;
}

template <typename T, typename... Indices>
REGARD_DEVICE T tensor_element(const ProgramTensorView& tensor, Indices... indices) {
  int axis = 0, offset = 0;
  ((offset += inside(tensor, axis, indices) * tensor.stride[axis], ++axis), ...);
  return load_global(static_cast<const T*>(tensor.data) + offset);
}

// Place of the same element in the contiguous tensor, where its gradient lies.
template <typename... Indices>
REGARD_DEVICE int gradient_element(const ProgramTensorView& tensor, Indices... indices) {
  int axis = 0, offset = 0;
  ((offset = offset * tensor.shape[axis] + inside(tensor, axis, indices), ++axis), ...);
  return offset;
}

}  // namespace regard::gpu
