// What an int8 backward may differ by because a value of P or dS lies within its f32 error of the
// middle of two int8 steps, or its tile's largest value within its own of two scales: then either
// rounding is right.
//
// Math     x +- e is a value with its error bound, s the scale of its tile and [s_lo, s_hi] the
//          scales that the tile's errors allow. Its slack is the largest |x^ - int8(x / s) s| over
//          what x^ may be; elsewhere it is 0. A gradient's slack is the sum of its values' slacks
//          times |dO^|, scale |q^| or scale |k'^|.
//          e of P: the f32 dot product of q^ and k'^ at worst, (D + 2) 2^-24 sum |q k|; the LSE
//          that the kernel was given; exp2 (2.5e-7). e of dS: that, dP likewise, and the O that the
//          kernel was given, rounded to its dtype as it is.
#pragma once

#include <vector>

#include "regard/problem.h"

namespace regard::testing {

// Dense tensors in the order [B, S, H, D]; lse [B, H, S].
struct Int8Slack {
  std::vector<double> dq, dk, dv;
};

// What forward results are: those that the backward was given, and the reference's.
struct ForwardPair {
  std::vector<float> got_o, exact_o, got_lse, exact_lse;
};

Int8Slack int8_slack(const Problem& problem, const View& d_o, const LseView& d_lse,
                     const ForwardPair& forward);

}  // namespace regard::testing
