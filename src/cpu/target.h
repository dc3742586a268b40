// The SIMD target that the next call runs on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace regard::cpu {

// Targets that this build holds and this CPU can run, best first: {"AVX3", "AVX2", "SSE4", ...}.
std::vector<std::string> available_targets();

}  // namespace regard::cpu
