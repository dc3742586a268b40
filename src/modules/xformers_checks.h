// What the bias objects check, and their messages.
#pragma once

#include <cstdint>
#include <string>

#include "modules/checks.h"
#include "regard/xformers_bias.h"

namespace regard::xformers {

[[noreturn]] inline void refuse(const std::string& reason) { checks::fail("xformers: " + reason); }

inline void check_at_least(const std::string& name, int64_t value, int64_t least) {
  if (value < least) {
    refuse(name + " " + std::to_string(value) + ": must be " + std::to_string(least) + " or more");
  }
}

inline void check_same(const std::string& left, int64_t a, const std::string& right, int64_t b) {
  checks::check_same("xformers: " + left, a, right, b);
}

// Causal, and the query's own key and window_size - 1 before it.
inline Band local_band(Causal causal, int64_t window_size) {
  check_at_least("window_size", window_size, 1);
  return {.causal = causal, .window = {.left = window_size - 1}};
}

inline Window window_of(int64_t left, int64_t right) {
  check_at_least("window_left", left, 0);
  check_at_least("window_right", right, 0);
  return {.left = left, .right = right};
}

}  // namespace regard::xformers
