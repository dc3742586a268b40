// Memory of this process.
#pragma once

#include <cstdint>

namespace tune {

// Largest resident size so far (VmHWM of /proc/self/status), in bytes; 0 where that file does not
// exist.
int64_t peak_memory_bytes();

}  // namespace tune
