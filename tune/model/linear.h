// Linear layers: plain, quantised (NF4) or with a LoRA adapter, several over one input at a time.
#pragma once

#include <torch/types.h>

#include <span>
#include <string>
#include <vector>

#include "tune/model/nf4.h"
#include "tune/model/parameter.h"

namespace tune {

// y += scale * dropout(x) A^T B^T (Hu et al. 2021, arXiv 2106.09685).
struct Lora {
  Parameter a;  // [r, in]
  Parameter b;  // [out, r]
  double scale = 1.0, dropout = 0.0;
  uint64_t stream = 0;  // which sequence of dropout masks: one a layer
  bool defined() const { return a.value.defined(); }
};

// y = x W^T + bias.
struct Linear {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  int64_t in = 0, out = 0;
  Parameter weight;  // [out, in]; its value is undefined where `quantized` holds it
  Parameter bias;    // [out], or without a name
  Nf4Weight quantized;
  Lora lora;

  // W in `dtype`; expands 4-bit weights into fresh memory.
  torch::Tensor dense_weight(torch::Dtype dtype) const;
};

namespace ops {

// What a forward draws its dropout masks from.
struct DropoutState {
  bool is_training = false;
  uint64_t seed = 0;
};

// One output a layer, [tokens, out] each, for x [tokens, in]. The layers must live until the
// backward ran: it reads their weights again instead of keeping copies. The gradient of x is summed
// over the layers inside the matrix products.
std::vector<torch::Tensor> linears(const torch::Tensor& x, std::span<const Linear* const> layers,
                                   const DropoutState& dropout);
torch::Tensor linear(const torch::Tensor& x, const Linear& layer, const DropoutState& dropout);

}  // namespace ops
}  // namespace tune
