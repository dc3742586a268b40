#include "tune/model/random_fill.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

#include "tune/splitmix64.h"

namespace tune {
namespace {

// Values that a thread draws at a time: about a millisecond.
constexpr int64_t kGrain = 1 << 15;

// FNV-1a of the name, then mixed with the seed: names that differ in one digit get unrelated keys.
uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return SplitMix64::at(hash, seed);
}

// In (0, 1]: its logarithm is finite.
double unit(uint64_t bits) { return (static_cast<double>(bits >> 11) + 1.0) * 0x1.0p-53; }

}  // namespace

void fill_normal(std::span<float> values, double deviation, uint64_t seed, std::string_view name) {
  const uint64_t key = key_of(seed, name);
  const auto num_pairs = static_cast<int64_t>((values.size() + 1) / 2);
  at::parallel_for(0, num_pairs, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const auto i = 2 * static_cast<size_t>(pair);
      const double radius = deviation * std::sqrt(-2.0 * std::log(unit(SplitMix64::at(key, i))));
      const double angle = 2.0 * std::numbers::pi * unit(SplitMix64::at(key, i + 1));
      values[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
}

void fill_uniform(std::span<float> values, double bound, uint64_t seed, std::string_view name) {
  const uint64_t key = key_of(seed, name);
  at::parallel_for(0, static_cast<int64_t>(values.size()), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto index = static_cast<size_t>(i);
      values[index] = static_cast<float>(bound * (1.0 - 2.0 * unit(SplitMix64::at(key, index))));
    }
  });
}

}  // namespace tune
