// Random order that is the same with every compiler, which std::shuffle's is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tune/splitmix64.h"

namespace tune {

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
