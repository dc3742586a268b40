// One forward call with quantised scores as the targets' entry point sees it.
#pragma once

#include "cpu/sage_operands.h"
#include "regard/problem.h"

namespace regard::cpu {

struct SageForwardCall {
  const Problem* problem;
  const SageOperands* operands;
  const ForwardOutputs* outputs;
  int num_threads;
};

// Runs the int8 forward on the chosen SIMD target. Throws Error(out_of_memory).
void sage_fwd_cpu(const SageForwardCall& call);

}  // namespace regard::cpu
