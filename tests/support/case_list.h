// The cases of the attention table: a grid of shapes and features, then random combinations.
#pragma once

#include <vector>

#include "tests/support/attention_case.h"

namespace regard::testing {

std::vector<AttentionCase> grid_cases();
std::vector<AttentionCase> random_cases(int count, uint32_t seed);
std::vector<AttentionCase> large_cases();

// All of these, the random ones from one seed: what every back end is judged by.
std::vector<AttentionCase> attention_table();

}  // namespace regard::testing
