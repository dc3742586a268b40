// One backward call as the targets' entry point sees it.
#pragma once

#include "regard/problem.h"

namespace regard::cpu {

// What an int8 backward (sage_int8_tiles-inl.h) has beside the exact one.
struct Int8Backward {
  View d_o;  // dO through int8: what P multiplies
  // The last channel of dQ is the sum of the row's exact dS; K's is all ones.
  bool has_row_sums;
};

struct BackwardCall {
  const Problem* problem;
  const BackwardTensors* tensors;
  int num_threads;
  const Int8Backward* int8 = nullptr;  // products of P and dS as they are
};

// Runs the tiled backward on the chosen SIMD target. Throws Error(out_of_memory).
void attn_bwd_cpu(const BackwardCall& call);

}  // namespace regard::cpu
