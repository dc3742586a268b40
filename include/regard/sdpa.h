// torch.nn.functional.scaled_dot_product_attention, to the letter, forward and backward, over
// tensors in its order [B, H, S, D]. `eager` is the same call with materialised scores.
#pragma once

#include <cstdint>
#include <optional>

#include "regard/attention.h"
#include "regard/export.h"
#include "regard/modules.h"
#include "regard/problem.h"

namespace regard {

// [B, H, S, D], or [N, S, D], or [S, D]: element (b, h, s, d) lies at data + the sum of index *
// stride, counted in elements; the last stride is 1. As in PyTorch the axis before S, D is that of
// the heads: [N, S, D] is one batch row of N heads, [S, D] of one head. All tensors of a call have
// one rank.
struct SdpaTensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  int32_t rank = 4;                       // 2 to 4
  int64_t shape[4] = {}, stride[4] = {};  // the first `rank` entries
};

// attn_mask: `rank` axes (1 to query's) that broadcast to the scores' [B, H, L, S] (or [N, L, S],
// or [L, S]) from the last one on, as PyTorch's do; an extent of 1 repeats. Boolean (1 byte, true =
// takes part), or a float that is added to the scaled scores: f32 or query's dtype.
struct SdpaMask {
  const void* data = nullptr;
  bool is_boolean = false;
  DType dtype = DType::f32;  // of a float mask
  int32_t rank = 4;
  int64_t shape[4] = {}, stride[4] = {};  // the first `rank` entries
};

struct SdpaArguments {
  SdpaTensor query{};               // [B, H, L, E]
  SdpaTensor key{}, value{};        // [B, H, S, E], [B, H, S, Ev]
  SdpaMask attn_mask{};             // none where data is null
  float dropout_p = 0.0f;           // 0 to 1, applied whenever it is not 0; 1 gives zeros
  bool is_causal = false;           // upper-left: query i sees keys j <= i, also where L != S
  std::optional<float> scale = {};  // 1/sqrt(E); any finite value, negative ones and 0 too
  bool enable_gqa = false;          // key and value may have fewer heads, H % Hkv == 0
  uint64_t seed = 0;                // of the dropout mask
  Module module = Module::sdpa;     // or eager
};

// Writes out [B, H, L, Ev] and, where `lse` is given, the log-sum-exp [B, H, L] that a backward
// needs ([1, N, L] and [1, 1, L] of tensors with fewer axes). A row that sees no key gives 0.
// Throws Error(invalid_argument) where PyTorch raises: a mask together with is_causal, unequal
// heads without enable_gqa, a mask of another dtype or of a shape that does not broadcast, a
// dropout_p outside 0 to 1.
REGARD_API void scaled_dot_product_attention(const SdpaArguments& arguments, const SdpaTensor& out,
                                             const LseView& lse = {});

// Gradients of query, key and value in their shapes; d_mask (f32, contiguous in attn_mask's shape,
// written whole) only for a float mask, null otherwise.
struct SdpaGradients {
  SdpaTensor query{}, key{}, value{};
  float* attn_mask = nullptr;
};
REGARD_API void scaled_dot_product_attention_backward(const SdpaArguments& arguments,
                                                      const SdpaTensor& grad, const SdpaTensor& out,
                                                      const LseView& lse,
                                                      const SdpaGradients& gradients);

}  // namespace regard
