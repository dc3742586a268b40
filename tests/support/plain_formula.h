// Attention as a few matrix operations over whole tensors, each rounding its result to the dtype of
// the operands and accumulating in f32: what a user would write by hand, and the yardstick of
// errors.
#pragma once

#include <vector>

#include "regard/problem.h"

namespace regard::testing {

// Dense tensors in the order [B, S, H, D]; lse [B, H, S]; d_bias [B, Sq, Hq, Sk] with 1 for the
// axes that the bias broadcasts, d_slopes [B or 1, Hq], d_sink [Hq], empty without such a term.
struct PlainResults {
  std::vector<float> o, lse, dq, dk, dv, d_bias, d_slopes, d_sink;
  std::vector<std::vector<float>> d_tensors;  // of the score program
};

// Rounds to the dtype of d_o. Without a backward (pages, f8_e4m3) only o and lse are filled.
PlainResults plain_formula(const Problem& problem, const View& d_o, const LseView& d_lse);

}  // namespace regard::testing
