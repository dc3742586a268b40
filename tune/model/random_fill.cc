#include "tune/model/random_fill.h"

#include <cmath>
#include <numbers>

#include "tune/splitmix64.h"

namespace tune {
namespace {

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
  SplitMix64 random(key_of(seed, name));
  for (size_t i = 0; i < values.size(); i += 2) {
    const double radius = deviation * std::sqrt(-2.0 * std::log(unit(random.next())));
    const double angle = 2.0 * std::numbers::pi * unit(random.next());
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

void fill_uniform(std::span<float> values, double bound, uint64_t seed, std::string_view name) {
  SplitMix64 random(key_of(seed, name));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(bound * (1.0 - 2.0 * unit(random.next())));
  }
}

}  // namespace tune
