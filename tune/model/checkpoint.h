// Gradient checkpointing: a piece of the forward that keeps its inputs only and runs again in the
// backward (Chen et al. 2016, arXiv 1604.06174).
#pragma once

#include <torch/types.h>

#include <functional>

namespace tune::ops {

// body(x), recomputed in the backward. The body must give the same bits when it runs again: it may
// read nothing that changes in between. Gradients of the parameters it uses go straight into their
// leaves. `anchor` is any leaf that requires a gradient: it makes the result require one even where
// x does not.
torch::Tensor checkpointed(const torch::Tensor& x, const torch::Tensor& anchor,
                           const std::function<torch::Tensor(const torch::Tensor&)>& body);

}  // namespace tune::ops
