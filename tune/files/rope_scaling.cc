#include "tune/files/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tune {
namespace {

// Turns of pair i in one position.
double turns_per_position(double theta, size_t i, size_t num_pairs) {
  return std::pow(theta, -static_cast<double>(i) / static_cast<double>(num_pairs)) /
         (2.0 * std::numbers::pi);
}

bool gives(const RopeConfig& rope, std::span<const float> divisors) {
  if (!(rope.low_freq_factor < rope.high_freq_factor)) return false;
  const auto expected = rope_frequency_divisors(rope, 2 * static_cast<int64_t>(divisors.size()));
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (!(std::abs(expected[i] - divisors[i]) <= 1e-3 * expected[i])) return false;
  }
  return true;
}

// Between the two limits the smoothing s is a line over turns per position p:
// s = (original * p - low) / (high - low). Two of its points give the line, low = 1 the rest.
bool fit_line(std::span<const float> divisors, RopeConfig& rope) {
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double smooth = (1.0 / divisors[i] - 1.0 / rope.factor) / (1.0 - 1.0 / rope.factor);
    if (smooth < 1e-4 || smooth > 1.0 - 1e-4) continue;
    points.emplace_back(turns_per_position(rope.theta, i, divisors.size()), smooth);
  }
  if (points.size() < 2) return false;
  const auto [p0, s0] = points.front();
  const auto [p1, s1] = points.back();
  const double slope = (s0 - s1) / (p0 - p1);
  const double offset = s0 - slope * p0;
  const double original = -slope / offset;
  if (!(offset < 0.0) || !(original >= 1.0) || original > 1e9) return false;
  rope.original_max_position_embeddings = std::llround(original);
  rope.high_freq_factor = 1.0 - 1.0 / offset;
  // Published factors are whole or halves; what f32 divisors lose is below 1e-3.
  const double tidy = std::round(2.0 * rope.high_freq_factor) / 2.0;
  if (std::abs(tidy - rope.high_freq_factor) < 2e-3) rope.high_freq_factor = tidy;
  return true;
}

}  // namespace

std::vector<double> rope_frequency_divisors(const RopeConfig& rope, int64_t head_dim) {
  std::vector<double> divisors(static_cast<size_t>(head_dim / 2), 1.0);
  if (rope.scaling == RopeConfig::Scaling::linear) {
    std::fill(divisors.begin(), divisors.end(), rope.factor);
  }
  if (rope.scaling != RopeConfig::Scaling::llama3) return divisors;
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double frequency =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double turns = static_cast<double>(rope.original_max_position_embeddings) * frequency /
                         (2.0 * std::numbers::pi);
    const double smooth = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    divisors[i] = 1.0 / ((1.0 - smooth) / rope.factor + smooth);
  }
  return divisors;
}

std::optional<RopeConfig> recover_llama3_scaling(std::span<const float> divisors, double theta) {
  RopeConfig rope;
  rope.theta = theta;
  rope.scaling = RopeConfig::Scaling::llama3;
  for (const float divisor : divisors) {
    if (!(divisor >= 1.0F) || !std::isfinite(divisor)) return std::nullopt;
    rope.factor = std::max(rope.factor, static_cast<double>(divisor));
  }
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  rope.original_max_position_embeddings = 8192;
  if (gives(rope, divisors)) return rope;  // Llama 3.1, 3.2 and 3.3
  if (rope.factor > 1.0 && fit_line(divisors, rope) && gives(rope, divisors)) return rope;
  return std::nullopt;
}

}  // namespace tune
