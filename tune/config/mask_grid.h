// Is a mask program causal? Asked on a grid of positions, before any tensor is read.
#pragma once

#include <cstdint>

#include "regard/program.h"

namespace tune {

// Whether a query sees a key later than itself somewhere on a grid of positions below
// `sequence_len` (all of the first 32, and the neighbours of the powers of two), for heads 0 to 7.
// The elements of all tensors are taken for 0, 1 and sequence_len in turn.
bool mask_sees_later_keys(const regard::Program& mask, int64_t sequence_len);

}  // namespace tune
