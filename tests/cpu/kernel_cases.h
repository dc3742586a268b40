// Cases for the CPU kernels: lengths around their tiles and blocks, every feature once, alone and
// combined.
#pragma once

#include <vector>

#include "tests/support/attention_case.h"

namespace regard::testing {

std::vector<AttentionCase> kernel_cases();

}  // namespace regard::testing
