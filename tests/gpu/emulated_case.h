// One case of a kernel's test on the emulator.
#pragma once

#include <ostream>
#include <string>

#include "tests/support/attention_case.h"

namespace regard::testing {

struct EmulatedCase {
  int compute_capability;  // whose tiles are taken
  AttentionCase config;
};
inline void PrintTo(const EmulatedCase& value, std::ostream* out) { *out << value.config.id(); }

// GoogleTest's name of a case.
inline std::string name_of(const EmulatedCase& value) {
  return "sm" + std::to_string(value.compute_capability) + "_" + value.config.id();
}

// Where the tests' own cases begin; the seed follows from the shape.
inline AttentionCase case_of(DType dtype, int64_t sq, int64_t sk, int64_t d, int64_t dv) {
  AttentionCase config;
  config.dtype = config.gradient_dtype = dtype;
  config.sq = sq;
  config.sk = sk;
  config.d = d;
  config.dv = dv;
  config.seed = static_cast<uint32_t>(sq * 131 + sk * 17 + d);
  return config;
}

}  // namespace regard::testing
