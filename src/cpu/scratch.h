// Scratch memory of one call: allocated once before threads start, so that nothing can throw inside
// a parallel region.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

#include "regard/error.h"

namespace regard::cpu {

// Uninitialised floats on a cache-line boundary (64 bytes, also the widest vector). Throws
// Error(out_of_memory) naming the size.
class Scratch {
 public:
  explicit Scratch(size_t num_floats) : data_(allocate(num_floats)) {}
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* pointer) const { std::free(pointer); }
  };

  static float* allocate(size_t num_floats) {
    constexpr size_t kAlignment = 64;
    constexpr size_t kMostFloats = std::numeric_limits<size_t>::max() / sizeof(float) - kAlignment;
    void* pointer = nullptr;
    if (num_floats <= kMostFloats) {
      const size_t bytes = (num_floats * sizeof(float) / kAlignment + 1) * kAlignment;
      pointer = std::aligned_alloc(kAlignment, bytes);
    }
    if (pointer == nullptr) {
      throw Error(ErrorCode::out_of_memory,
                  "cpu attention: no memory for " + std::to_string(num_floats) +
                      " floats of scratch; use fewer threads, a smaller batch or shorter rows");
    }
    return static_cast<float*>(pointer);
  }

  std::unique_ptr<float, Free> data_;
};

// Floats rounded up to whole cache lines, so that neighbours in one Scratch stay aligned.
constexpr size_t whole_lines(size_t num_floats) { return (num_floats + 15) / 16 * 16; }

}  // namespace regard::cpu
