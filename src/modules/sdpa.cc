// scaled_dot_product_attention: PyTorch's argument rules in front of lower(sdpa) and lower(eager).
#include "regard/sdpa.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "core/dtype.h"
#include "modules/checks.h"

namespace regard {
namespace {

using checks::shape_text;
using checks::text;

[[noreturn]] void refuse(const std::string& reason) {
  checks::fail("scaled_dot_product_attention: " + reason);
}

// The tensors of a call have the rank of query; axes that are missing in front count 1.
View view_of(const std::string& name, const SdpaTensor& tensor, int32_t rank) {
  if (tensor.rank != rank) {
    refuse(name + " has " + text(tensor.rank) + " axes and query " + text(rank) +
           ": must be equal");
  }
  const auto axis = [rank](int32_t i) { return i + rank - 4; };
  const auto extent = [&](int32_t i) { return axis(i) < 0 ? 1 : tensor.shape[axis(i)]; };
  const auto stride = [&](int32_t i) { return axis(i) < 0 ? 0 : tensor.stride[axis(i)]; };
  if (stride(3) != 1 && extent(3) > 1) {
    refuse(name + "'s last stride is " + text(stride(3)) +
           ": must be 1; make the tensor contiguous");
  }
  return {.data = tensor.data,
          .dtype = tensor.dtype,
          .batch = extent(0),
          .seq = extent(2),
          .heads = extent(1),
          .dim = extent(3),
          .stride_batch = stride(0),
          .stride_seq = stride(2),
          .stride_head = stride(1)};
}

struct Operands {
  View query, key, value;
};

Operands operands_of(const SdpaArguments& arguments) {
  const int32_t rank = arguments.query.rank;
  if (rank < 2 || rank > 4) {
    refuse("query has " + text(rank) + " axes: must have 2 to 4");
  }
  return {view_of("query", arguments.query, rank), view_of("key", arguments.key, rank),
          view_of("value", arguments.value, rank)};
}

// [B, H, L, S] of the scores.
std::array<int64_t, 4> score_shape(const Operands& operands) {
  return {operands.query.batch, operands.query.heads, operands.query.seq, operands.key.seq};
}

void check_heads(const SdpaArguments& arguments, const Operands& operands) {
  const int64_t heads = operands.query.heads;
  for (const View* view : {&operands.key, &operands.value}) {
    const std::string name = view == &operands.key ? "key" : "value";
    const int64_t fewer = view->heads;
    if (heads == fewer) {
      continue;
    }
    if (!arguments.enable_gqa) {
      refuse("query has " + text(heads) + " heads and " + name + " " + text(fewer) +
             ": set enable_gqa where groups of query heads share them");
    }
    if (fewer < 1 || heads % fewer != 0) {
      refuse("query has " + text(heads) + " heads: with enable_gqa it must be a multiple of the " +
             text(fewer) + " of " + name);
    }
  }
}

void check_mask(const SdpaArguments& arguments, const Operands& operands) {
  const SdpaMask& mask = arguments.attn_mask;
  if (arguments.is_causal) {
    refuse("attn_mask is set together with is_causal: put the causal part into the mask");
  }
  if (!mask.is_boolean && mask.dtype != DType::f32 && mask.dtype != arguments.query.dtype) {
    refuse(std::string("attn_mask is ") + core::name_of(mask.dtype) +
           ": must be boolean, f32 or query's dtype, " + core::name_of(arguments.query.dtype));
  }
  const int32_t rank = arguments.query.rank;
  if (mask.rank < 1 || mask.rank > rank) {
    refuse("attn_mask has " + text(mask.rank) + " axes: must have 1 to " + text(rank) +
           ", the axes of query");
  }
  const std::array<int64_t, 4> scores = score_shape(operands);
  for (int32_t i = 0; i < mask.rank; ++i) {
    const int64_t extent = scores[static_cast<size_t>(i + 4 - mask.rank)];
    if (mask.shape[i] != extent && mask.shape[i] != 1) {
      refuse("attn_mask has the shape " + shape_text({mask.shape, static_cast<size_t>(mask.rank)}) +
             ": must broadcast to " +
             shape_text(std::span(scores).last(static_cast<size_t>(rank))));
    }
  }
}

// Strides over [B, H, L, S]; 0 where the mask broadcasts.
std::array<int64_t, 4> broadcast_strides(const SdpaMask& mask) {
  std::array<int64_t, 4> strides{};
  for (int32_t i = 0; i < mask.rank; ++i) {
    strides[static_cast<size_t>(i + 4 - mask.rank)] = mask.shape[i] == 1 ? 0 : mask.stride[i];
  }
  return strides;
}

void set_mask(const SdpaMask& mask, AttentionOptions& options) {
  const auto [batch, head, query, key] = broadcast_strides(mask);
  if (mask.is_boolean) {
    options.mask = {static_cast<const uint8_t*>(mask.data), batch, head, query, key};
  } else {
    options.bias = {mask.data, mask.dtype, batch, head, query, key};
  }
}

// A Problem's scale of 0 asks for the default; the smallest normal f32 makes scores vanish as well.
float scale_of(const SdpaArguments& arguments) {
  const float scale = arguments.scale.value_or(0.0f);
  return arguments.scale.has_value() && scale == 0.0f ? std::numeric_limits<float>::min() : scale;
}

// Every weight is dropped: O and all gradients are 0. No Problem says it, its kept weights being
// multiplied by 1 / (1 - p); LSE is that of the call without dropout.
bool drops_all(const SdpaArguments& arguments) { return arguments.dropout_p == 1.0f; }

Problem problem_of(const SdpaArguments& arguments) {
  if (arguments.module != Module::sdpa && arguments.module != Module::eager) {
    refuse("module " + std::string(module_info(arguments.module).name) + ": must be sdpa or eager");
  }
  if (!(arguments.dropout_p >= 0.0f && arguments.dropout_p <= 1.0f)) {
    refuse("dropout_p " + std::to_string(arguments.dropout_p) + ": must be from 0 to 1");
  }
  const Operands operands = operands_of(arguments);
  check_heads(arguments, operands);
  AttentionOptions options{.is_causal = arguments.is_causal};
  options.scale = scale_of(arguments);
  options.dropout = {.probability = drops_all(arguments) ? 0.0f : arguments.dropout_p,
                     .seed = arguments.seed};
  if (arguments.attn_mask.data != nullptr) {
    check_mask(arguments, operands);
    set_mask(arguments.attn_mask, options);
  }
  return lower(arguments.module, operands.query, operands.key, operands.value, options);
}

void write_zeros(const View& view) {
  for (int64_t batch = 0; batch < view.batch; ++batch) {
    for (int64_t seq = 0; seq < view.seq; ++seq) {
      for (int64_t head = 0; head < view.heads; ++head) {
        std::memset(static_cast<char*>(view.data) +
                        core::row_offset(view, batch, seq, head) * core::bytes_of(view.dtype),
                    0, static_cast<size_t>(view.dim * core::bytes_of(view.dtype)));
      }
    }
  }
}

// Contiguous in the mask's shape. An axis that the caller's strides repeat has one gradient only.
BiasGradient mask_gradient(const SdpaMask& mask, float* data) {
  if (mask.data == nullptr || mask.is_boolean) {
    refuse("a gradient of attn_mask is asked for, and there is no float mask");
  }
  std::array<int64_t, 4> strides{};
  int64_t stride = 1;
  for (int32_t i = mask.rank - 1; i >= 0; --i) {
    if (mask.shape[i] > 1 && mask.stride[i] == 0) {
      refuse("attn_mask repeats axis " + text(i) +
             " by a stride of 0, and its gradient is asked "
             "for: give that axis an extent of 1");
    }
    strides[static_cast<size_t>(i + 4 - mask.rank)] = mask.shape[i] == 1 ? 0 : stride;
    stride *= mask.shape[i];
  }
  return {data, strides[0], strides[1], strides[2], strides[3]};
}

void write_zero_gradients(const SdpaMask& mask, const BackwardTensors& tensors) {
  for (const View* gradient : {&tensors.dq, &tensors.dk, &tensors.dv}) {
    write_zeros(*gradient);
  }
  if (tensors.d_bias.data != nullptr) {
    const int64_t count =
        std::accumulate(mask.shape, mask.shape + mask.rank, int64_t{1}, std::multiplies<int64_t>());
    std::fill_n(tensors.d_bias.data, count, 0.0f);
  }
}

void check_place(const SdpaArguments& arguments) {
  if (drops_all(arguments)) {
    checks::require_host_memory("dropout_p 1", arguments.query.data, "fill the results with zeros");
  }
}

}  // namespace

void scaled_dot_product_attention(const SdpaArguments& arguments, const SdpaTensor& out,
                                  const LseView& lse) {
  const Problem problem = problem_of(arguments);
  check_place(arguments);
  const View o = view_of("out", out, arguments.query.rank);
  attention_forward(problem, {.o = o, .lse = lse}, backend_of(arguments.module, problem));
  if (drops_all(arguments)) {
    write_zeros(o);
  }
}

void scaled_dot_product_attention_backward(const SdpaArguments& arguments, const SdpaTensor& grad,
                                           const SdpaTensor& out, const LseView& lse,
                                           const SdpaGradients& gradients) {
  const Problem problem = problem_of(arguments);
  check_place(arguments);
  const int32_t rank = arguments.query.rank;
  BackwardTensors tensors;
  tensors.o = view_of("out", out, rank);
  tensors.lse = lse;
  tensors.d_o = view_of("grad", grad, rank);
  tensors.dq = view_of("the gradient of query", gradients.query, rank);
  tensors.dk = view_of("the gradient of key", gradients.key, rank);
  tensors.dv = view_of("the gradient of value", gradients.value, rank);
  if (gradients.attn_mask != nullptr) {
    tensors.d_bias = mask_gradient(arguments.attn_mask, gradients.attn_mask);
  }
  attention_backward(problem, tensors, backend_of(arguments.module, problem, Pass::training));
  if (drops_all(arguments)) {
    write_zero_gradients(arguments.attn_mask, tensors);
  }
}

}  // namespace regard
