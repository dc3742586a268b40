// Score and mask programs as device code.
#pragma once

#include <string>

#include "regard/problem.h"

namespace regard::gpu {

// The text that takes the place of kernels/programs.cuh for the programs of `problem`; empty where
// it has none. Depends on the programs alone, not on the memory of their tensors, so that one
// compiled kernel serves all shapes.
std::string emit_programs(const Problem& problem);

}  // namespace regard::gpu
