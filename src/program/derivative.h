// Derivatives by forward accumulation. Zero derivatives are known as such and never multiplied, and
// the derivative of a selection selects among derivatives: a branch that is not taken cannot make
// it NaN.
#pragma once

#include "program/graph.h"

namespace regard::program {

// Adds d root / d seed to the graph; -1 where it is zero everywhere.
int32_t derivative(Graph& graph, int32_t root, int32_t seed);

}  // namespace regard::program
