// Thread blocks of a launch.
#pragma once

#include <cstdint>

namespace regard::gpu {

struct Grid {
  int64_t x = 0, y = 0, z = 0;

  constexpr bool is_empty() const { return x == 0 || y == 0 || z == 0; }
};

}  // namespace regard::gpu
