// The CPU back end for quantised scores, as the engine's choice sees it. Contract as in
// cpu_attention.h.
#pragma once

#include <string>

#include "regard/problem.h"

namespace regard::cpu {

std::string why_unsupported_sage(const Problem& problem);
void forward_sage(const Problem& problem, const ForwardOutputs& outputs);
void backward_sage(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::cpu
