// One forward call as the targets' entry point sees it.
#pragma once

#include "regard/problem.h"

namespace regard::cpu {

struct ForwardCall {
  const Problem* problem;
  const ForwardOutputs* outputs;
  int num_threads;
};

// Runs the tiled forward on the chosen SIMD target. Throws Error(out_of_memory).
void attn_fwd_cpu(const ForwardCall& call);

}  // namespace regard::cpu
