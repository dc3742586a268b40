// Attention as a few matrix operations over whole tensors, each rounding its result to the dtype of
// the operands and accumulating in f32: what a user would write by hand, and the yardstick of
// errors.
#pragma once

#include <vector>

#include "regard/problem.h"

namespace regard::testing {

// Dense tensors in the order [B, S, H, D]; lse [B, H, S].
struct PlainResults {
  std::vector<float> o, lse, dq, dk, dv;
};

PlainResults plain_formula(const Problem& problem, const View& d_o, const LseView& d_lse);

}  // namespace regard::testing
