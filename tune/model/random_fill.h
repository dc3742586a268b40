// Reproducible random numbers for weights: a function of (seed, name, index), so that neither the
// order of filling nor the number of threads nor the LibTorch release changes a bit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace tune {

// Normal with mean 0 (Box and Muller 1958).
void fill_normal(std::span<float> values, double deviation, uint64_t seed, std::string_view name);
// Uniform in [-bound, bound).
void fill_uniform(std::span<float> values, double bound, uint64_t seed, std::string_view name);

}  // namespace tune
