// Materialised attention in LibTorch's operations, which is the yardstick on a GPU, against the
// engine's.
#include "tune/model/eager_attention.h"

#include <gtest/gtest.h>

#include "regard/attention.h"
#include "regard/modules.h"
#include "tests/tune/model/model_fixture.h"

namespace tune {
namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 8;

torch::Tensor wave(int64_t tokens, int64_t heads, double frequency) {
  return (torch::arange(tokens * heads * kDim, torch::kFloat32) * frequency)
      .sin()
      .view({tokens, heads * kDim});
}

regard::View view_of(const torch::Tensor& x, int64_t heads) {
  return {.data = x.data_ptr(),
          .batch = 1,
          .seq = x.size(0),
          .heads = heads,
          .dim = kDim,
          .stride_batch = x.numel(),
          .stride_seq = x.size(1),
          .stride_head = kDim};
}

TEST(EagerAttention, DocumentsWindowAndCache_AreThoseOfTheEngine) {
  // The second document is decoded: three queries behind nine keys. The third one is empty.
  const std::vector<int32_t> q_offsets = {0, 10, 13, 13}, k_offsets = {0, 10, 19, 19};
  const torch::Tensor q = wave(13, kHeads, 0.37), k = wave(19, kKvHeads, 0.91),
                      v = wave(19, kKvHeads, 1.7), d_o = wave(13, kHeads, 0.53);
  for (const std::optional<int64_t> window :
       {std::optional<int64_t>(), std::optional<int64_t>(4)}) {
    const ops::EagerAttention eager{kHeads, kKvHeads, kDim, window, q_offsets, k_offsets};
    const ops::AttentionOutput found = eager.forward(q, k, v);
    regard::Problem problem;
    problem.q = view_of(q, kHeads);
    problem.k = view_of(k, kKvHeads);
    problem.v = view_of(v, kKvHeads);
    problem.causal = regard::Causal::lower_right;
    if (window) problem.window.left = *window - 1;
    problem.documents = {q_offsets.data(), k_offsets.data(), 3};
    const torch::Tensor o = torch::empty_like(q), lse = torch::empty({kHeads, 13});
    const regard::LseView lse_view{lse.data_ptr<float>(), lse.numel(), 13};
    regard::attention_forward(problem, {view_of(o, kHeads), lse_view});
    EXPECT_LT(largest_difference(found.o, o), 1e-5);
    EXPECT_LT(largest_difference(found.lse, lse), 1e-5);
    const torch::Tensor dq = torch::empty_like(q), dk = torch::empty_like(k),
                        dv = torch::empty_like(v);
    regard::BackwardTensors tensors;
    tensors.o = view_of(o, kHeads);
    tensors.lse = lse_view;
    tensors.d_o = view_of(d_o, kHeads);
    tensors.dq = view_of(dq, kHeads);
    tensors.dk = view_of(dk, kKvHeads);
    tensors.dv = view_of(dv, kKvHeads);
    regard::attention_backward(problem, tensors);
    const ops::AttentionGradients gradients = eager.backward(q, k, v, found, d_o);
    EXPECT_LT(relative_error(gradients.dq, dq), 1e-5);
    EXPECT_LT(relative_error(gradients.dk, dk), 1e-5);
    EXPECT_LT(relative_error(gradients.dv, dv), 1e-5);
  }
}

}  // namespace
}  // namespace tune
