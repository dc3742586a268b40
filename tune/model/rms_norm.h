// RMSNorm fused with the residual addition before it, as an autograd operation.
#pragma once

#include <torch/types.h>

#include "tune/model/parameter.h"

namespace tune::ops {

struct SumAndNorm {
  torch::Tensor sum, normed;
};

// sum = h + delta, normed = RMSNorm(sum) * weight; h, delta [tokens, width] of one dtype,
// statistics in f32. An undefined delta adds nothing and gives sum = h. Keeps sum and one f32 a
// row.
SumAndNorm add_rms_norm(const torch::Tensor& h, const torch::Tensor& delta, const Parameter& weight,
                        double eps);

}  // namespace tune::ops
