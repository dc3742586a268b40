// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split as Transformers does it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "tune/files/model_config.h"

namespace tune {

// head_dim / 2 inverse frequencies, theta^(-2i/head_dim), rescaled as the configuration says:
// `linear` divides all by `factor`; `llama3` divides those whose wavelength is beyond
// original_max_position_embeddings / low_freq_factor, keeps those below .../high_freq_factor and
// blends between.
std::vector<float> inverse_frequencies(const RopeConfig& rope, int64_t head_dim);

// cos and sin of position * frequency, f32 [positions, frequencies] on `device`.
struct RotaryAngles {
  torch::Tensor cos, sin;
};
RotaryAngles rotary_angles(std::span<const int32_t> positions, std::span<const float> frequencies,
                           const torch::Device& device);

}  // namespace tune
