// Cases of quantised attention, for every back end that computes it.
#pragma once

#include <functional>
#include <vector>

#include "tests/support/attention_case.h"

namespace regard::testing {

// For AttentionCase::change: int8 scores, and K with a bias in some channels, as real models have
// it (Zhang et al. 2024, section 3.2).
std::function<void(Problem&)> quantized(Quantization quantization, float channel_bias = 4.0f);

// The same case from int8 products.
AttentionCase with_int8_backward(AttentionCase config);

// Each of them without and with an int8 backward.
std::vector<AttentionCase> sage_cases();

}  // namespace regard::testing
