// From an expression to the graph, with the checks that its reads and divisions need.
#pragma once

#include "program/code.h"
#include "program/expression.h"

namespace regard::program {

// Fills graph, root, checks and tensors of `code`. Throws Error(invalid_argument) for a mask that
// reads the score, a tensor used with two ranks or types, more than 65536 operations.
void lower(const ExpressionPtr& result, Code& code);

}  // namespace regard::program
