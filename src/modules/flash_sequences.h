// Packed sequences with ALiBi slopes of their own. A Problem's slopes are those of batch rows, and
// a packed row is one: such a call becomes one call a sequence.
#pragma once

#include "regard/problem.h"

namespace regard::flash {

// Whether slopes [sequences, Hq] meet packed rows.
bool has_slopes_of_sequences(const Problem& problem);

// What one call would write if it read slopes by sequence: dropout too counts as there. The first
// call validates everything and writes what belongs to no sequence.
void forward_by_sequence(const Problem& problem, const ForwardOutputs& outputs);
void backward_by_sequence(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::flash
