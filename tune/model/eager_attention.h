// Attention with materialised scores in LibTorch's operations: what `eager` means on a GPU, and the
// yardstick there. (In main memory the engine's own eager back end does it.)
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace tune::ops {

struct AttentionOutput {
  torch::Tensor o;    // [queries, Hq*D], dtype of q
  torch::Tensor lse;  // f32 [Hq, queries]
};
struct AttentionGradients {
  torch::Tensor dq, dk, dv;
};

struct EagerAttention {
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::optional<int64_t> window;   // keys besides the query's own are window - 1
  std::vector<int32_t> q_offsets;  // document i owns queries q_offsets[i] .. q_offsets[i + 1]
  std::vector<int32_t> k_offsets;  // and those keys; its last query sees its last key

  // q [queries, Hq*D], k and v [keys, Hkv*D]; causal inside each document. Products and softmax in
  // f32 whatever the dtype, one document's [Hq, queries, keys] scores at a time.
  AttentionOutput forward(const torch::Tensor& q, const torch::Tensor& k,
                          const torch::Tensor& v) const;

  AttentionGradients backward(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, const AttentionOutput& output,
                              const torch::Tensor& d_o) const;
};

}  // namespace tune::ops
