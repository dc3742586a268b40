#include "tune/model/rope.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "tune/model/device.h"

namespace tune {
namespace {

double llama3_scaled(double frequency, const RopeConfig& rope) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const double context = static_cast<double>(rope.original_max_position_embeddings);
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < context / rope.high_freq_factor) return frequency;
  const double keep = (context / wavelength - rope.low_freq_factor) /
                      (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - keep) * frequency / rope.factor + keep * frequency;
}

}  // namespace

std::vector<float> inverse_frequencies(const RopeConfig& rope, int64_t head_dim) {
  std::vector<float> result;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double frequency =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (rope.scaling == RopeConfig::Scaling::linear) frequency /= rope.factor;
    if (rope.scaling == RopeConfig::Scaling::llama3) frequency = llama3_scaled(frequency, rope);
    result.push_back(static_cast<float>(frequency));
  }
  return result;
}

RotaryAngles rotary_angles(std::span<const int32_t> positions, std::span<const float> frequencies,
                           const torch::Device& device) {
  const torch::Tensor position = on_device(positions, torch::kFloat32, device).unsqueeze(1),
                      frequency = on_device(frequencies, torch::kFloat32, device).unsqueeze(0);
  // The angle is rounded to f32 as in Transformers, its cosine is not.
  const torch::Tensor angle = (position * frequency).to(torch::kFloat64);
  return {angle.cos().to(torch::kFloat32), angle.sin().to(torch::kFloat32)};
}

}  // namespace tune
