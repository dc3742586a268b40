// Which keys a query may see, from the definitions of Problem's fields.
#pragma once

#include "core/sequences.h"
#include "regard/problem.h"

namespace regard::testing {

// `query` and `key` count from the sequence's first ones; `head` is the query head.
bool sees(const Problem& problem, const core::Sequence& sequence, int64_t head, int64_t query,
          int64_t key);

}  // namespace regard::testing
