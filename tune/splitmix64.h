// Random numbers that are the same with every compiler and library: the standard distributions
// leave their algorithm to the implementation, which would tie a resumed run to one of them.
#pragma once

#include <cstdint>

namespace tune {

// SplitMix64 (Steele, Lea, Flood 2014): 64-bit state, every seed gives a full-period sequence.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += kGamma;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Number `index` (from 0) of the sequence of `seed`, without the ones before it.
  static uint64_t at(uint64_t seed, uint64_t index) {
    return SplitMix64(seed + kGamma * index).next();
  }

  // Uniform in [0, bound), bound > 0; values beyond the last whole multiple are drawn again.
  uint64_t below(uint64_t bound) {
    const uint64_t excess = (UINT64_MAX % bound + 1) % bound;
    uint64_t value = next();
    while (value > UINT64_MAX - excess) value = next();
    return value % bound;
  }

 private:
  static constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd

  uint64_t state_;
};

}  // namespace tune
