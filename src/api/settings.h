// The environment variables of the engine, read once.
#pragma once

#include <string>

namespace regard::api {

struct Settings {
  std::string force_target;  // REGARD_FORCE_TARGET: a SIMD target instead of the best; empty = best
  int num_threads = 0;       // REGARD_NUM_THREADS: threads a call may use; 0 = OpenMP's default
};

// Reads both through `get`, which returns null for a variable that is not set. Throws
// Error(invalid_argument) with the variable and its value when it makes no sense.
Settings read_settings(const char* (*get)(const char* name));

// Those of this process, read at the first call.
const Settings& settings();

}  // namespace regard::api
