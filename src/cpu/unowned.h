// Tokens of packed rows that belong to no document (Documents::q_lengths, k_lengths): nothing is
// computed for them, yet their outputs are written.
#pragma once

#include "regard/problem.h"

namespace regard::cpu {

// O = 0 and LSE = -inf of queries that no document owns.
void write_unowned_outputs(const Problem& problem, const ForwardOutputs& outputs);

// dQ = 0 of such queries, dK = dV = 0 of such keys.
void write_unowned_gradients(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::cpu
