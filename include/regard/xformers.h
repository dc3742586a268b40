// memory_efficient_attention under the names that xFormers users know. See docs/modules/xformers.md
// for what differs.
#pragma once

#include <cstdint>

#include "regard/attention.h"
#include "regard/export.h"
#include "regard/problem.h"
#include "regard/xformers_bias.h"
#include "regard/xformers_block_diagonal.h"
#include "regard/xformers_paged.h"

namespace regard::xformers {

// A tensor [B, M, G, H, K]: G groups of H heads; element (b, m, g, h, k) lies at data +
// b*stride_batch + m*stride_seq + g*stride_group + h*stride_head + k, counted in elements. A View
// [B, M, H, K] is one group. Keys and values that a group shares are expanded: stride_head 0.
struct Tensor {
  Tensor() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a View is a Tensor of one group
  Tensor(const View& view)
      : data(view.data),
        dtype(view.dtype),
        batch(view.batch),
        seq(view.seq),
        groups(1),
        heads(view.heads),
        dim(view.dim),
        stride_batch(view.stride_batch),
        stride_seq(view.stride_seq),
        stride_group(view.heads * view.stride_head),
        stride_head(view.stride_head) {}

  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t batch = 0, seq = 0, groups = 1, heads = 0, dim = 0;
  int64_t stride_batch = 0, stride_seq = 0, stride_group = 0, stride_head = 0;
};

// [B, M, K] as one head.
REGARD_API View single_head(void* data, DType dtype, int64_t batch, int64_t seq, int64_t dim);

struct Arguments {
  Tensor q{}, k{}, v{};
  const AttentionBias* attn_bias = nullptr;  // null: every query sees every key
  float p = 0.0f;                            // dropout; the same seed draws the same mask
  uint64_t seed = 0;
  float scale = 0.0f;  // 0 = K^-0.5
};

// LSE [B, G*H, M], natural logarithm; head g*H + h.
//
// `out` has the dtype of q, or another one (xFormers' output_dtype): f32, f16 or bf16, as `grad`
// has then too. Such a call computes in f32 on copies of its operands. So do calls over groups
// whose heads lie unevenly in memory where dropout, or the gradient of a bias that heads share,
// counts them all together.
//
// All functions throw Error(invalid_argument) for tensors and masks that do not fit each other and
// Error(unsupported) where no back end serves the call.
REGARD_API void memory_efficient_attention(const Arguments& arguments, const Tensor& out);
REGARD_API void memory_efficient_attention_forward_requires_grad(const Arguments& arguments,
                                                                 const Tensor& out,
                                                                 const LseView& lse);

// Gradients of q, k and v have their shapes; where k is expanded over a group's heads, so is dk
// (stride_head 0), and it receives the sum over them. d_bias (optional, f32) is the gradient of the
// bias tensor, summed over the axes that it broadcasts.
struct Gradients {
  Tensor dq{}, dk{}, dv{};
  BiasGradient d_bias{};
};
REGARD_API void memory_efficient_attention_backward(const Arguments& arguments, const Tensor& grad,
                                                    const Tensor& out, const LseView& lse,
                                                    const Gradients& gradients);

// Attention over some of the keys, with the LSE by which merge_attention
// (regard/merge_attention.h) joins it with the rest. Dropout is refused: parts know nothing of each
// other's rows.
REGARD_API void memory_efficient_attention_partial(const Arguments& arguments, const Tensor& out,
                                                   const LseView& lse);

}  // namespace regard::xformers
