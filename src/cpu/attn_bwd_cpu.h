// One backward call as the targets' entry point sees it.
#pragma once

#include "regard/problem.h"

namespace regard::cpu {

struct BackwardCall {
  const Problem* problem;
  const BackwardTensors* tensors;
  int num_threads;
};

// Runs the tiled backward on the chosen SIMD target. Throws Error(out_of_memory).
void attn_bwd_cpu(const BackwardCall& call);

}  // namespace regard::cpu
