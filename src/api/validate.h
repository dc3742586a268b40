// Does a problem contradict itself? Every check throws Error(invalid_argument) with the value and
// what is allowed; nothing is computed before all of them passed.
#pragma once

#include "regard/attention.h"

namespace regard::api {

// Shapes, strides, pointers, offsets and scalars of the operands. Returns the problem with its
// scale resolved (0 becomes 1/sqrt(D)).
Problem validated(const Problem& problem);

// The same for a back end: a problem for the GPU lies in device memory, of which the host reads
// offsets, lengths and tables only, and says so where it cannot.
Problem validated(const Problem& problem, Backend backend);

// The outputs against a valid problem. Outputs may have gaps between rows but may not overlap.
void validate_forward(const Problem& problem, const ForwardOutputs& outputs);
void validate_backward(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::api
