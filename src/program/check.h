// Is a Problem's use of programs sound? Called once by validation, before any back end runs; back
// ends then need no check, they only keep masked pairs from reading outside a tensor (by clamping
// every index).
#pragma once

#include "regard/problem.h"

namespace regard::program {

// Throws Error(invalid_argument): a mask program where a score program belongs, tensors that are
// missing or have another type, rank or no memory, and, as regard/program.h describes, an index or
// a divisor that some visible pair uses and that is not allowed. The rest of the problem must be
// valid already.
void check_programs(const Problem& problem);

}  // namespace regard::program
