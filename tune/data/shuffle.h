// Random order that is the same with every compiler: std::shuffle and the standard distributions
// leave their algorithm to the implementation, which would tie a resumed run to one library.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace tune {

// SplitMix64 (Steele, Lea, Flood 2014): 64-bit state, every seed gives a full-period sequence.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound), bound > 0; values beyond the last whole multiple are drawn again.
  uint64_t below(uint64_t bound) {
    const uint64_t excess = (UINT64_MAX % bound + 1) % bound;
    uint64_t value = next();
    while (value > UINT64_MAX - excess) value = next();
    return value % bound;
  }

 private:
  uint64_t state_;
};

// A generator for one purpose of one epoch: neighbouring seeds and epochs give unrelated sequences.
inline SplitMix64 make_generator(uint64_t seed, uint64_t epoch, uint64_t purpose) {
  const uint64_t of_seed = SplitMix64(seed).next();
  const uint64_t of_epoch = SplitMix64(of_seed ^ epoch).next();
  return SplitMix64(SplitMix64(of_epoch ^ purpose).next());
}

// Fisher-Yates.
template <typename T>
void shuffle(std::vector<T>& items, SplitMix64& generator) {
  for (size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[static_cast<size_t>(generator.below(i))]);
  }
}

}  // namespace tune
