// Cross entropy over a large vocabulary without ever holding the logits of all tokens.
#pragma once

#include <torch/types.h>

#include <vector>

#include "tune/data/sample.h"
#include "tune/model/parameter.h"

namespace tune::ops {

// Which rows of the hidden states predict which id.
struct LossTargets {
  torch::Tensor positions;  // i64 [n], ascending
  torch::Tensor ids;        // i64 [n]
};

// Position i predicts labels[i + 1] where both lie in one document; ignored labels are left out.
// The tensors lie on `device`. Throws tune::Error for a label outside [0, vocab_size).
LossTargets loss_targets(const Batch& batch, int64_t vocab_size,
                         const torch::Device& device = torch::kCPU);

// Sum over the targets of -log softmax(hidden W^T)[id], f32 scalar. hidden [tokens, width]; W
// [vocab, width] (the output layer or the tied embedding). Chunks of tokens go through product,
// softmax and both backward products at once, so that the gradients exist when the forward ends and
// only [chunk, vocab] logits exist at any time.
torch::Tensor chunked_cross_entropy(const torch::Tensor& hidden, const Parameter& weight,
                                    const LossTargets& targets);

}  // namespace tune::ops
