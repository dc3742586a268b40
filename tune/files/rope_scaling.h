// Llama 3's rotary scaling, from the divisors that GGUF stores instead of its parameters.
#pragma once

#include <optional>
#include <span>

#include "tune/files/model_config.h"

namespace tune {

// The RopeConfig of kind llama3 with this theta whose divisors are `divisors` to 1e-3 relative;
// nullopt when none is. Only ratios of the parameters can be seen in them: low_freq_factor is taken
// as 1, as every published model has it.
std::optional<RopeConfig> recover_llama3_scaling(std::span<const float> divisors, double theta);

}  // namespace tune
