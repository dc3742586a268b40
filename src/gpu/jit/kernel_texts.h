// The kernels' sources, embedded in the library at build time.
#pragma once

#include <span>

namespace regard::gpu {

struct KernelText {
  const char* name;  // as the sources include it: "tile/mma.cuh"
  const char* text;
};

std::span<const KernelText> kernel_texts();

}  // namespace regard::gpu
