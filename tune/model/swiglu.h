// SwiGLU (Shazeer 2020, arXiv 2002.05202) as one autograd operation that keeps its two inputs only.
#pragma once

#include <torch/types.h>

namespace tune::ops {

// silu(gate) * up, all [tokens, intermediate] contiguous, one dtype.
torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up);

}  // namespace tune::ops
