// scaled_dot_product_attention: PyTorch's argument rules in front of lower(sdpa) and lower(eager).
#include "regard/sdpa.h"

#include <array>
#include <limits>
#include <string>

#include "core/dtype.h"
#include "regard/error.h"

namespace regard {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::invalid_argument, "scaled_dot_product_attention: " + reason);
}

std::string text(int64_t value) { return std::to_string(value); }

std::string shape_text(const int64_t* shape, int64_t rank) {
  std::string words;
  for (int64_t i = 0; i < rank; ++i) {
    words.append(words.empty() ? "[" : ", ").append(text(shape[i]));
  }
  return words.append("]");
}

View view_of(const std::string& name, const SdpaTensor& tensor) {
  if (tensor.stride[3] != 1 && tensor.shape[3] > 1) {
    refuse(name + "'s last stride is " + text(tensor.stride[3]) +
           ": must be 1; make the tensor contiguous");
  }
  return {.data = tensor.data,
          .dtype = tensor.dtype,
          .batch = tensor.shape[0],
          .seq = tensor.shape[2],
          .heads = tensor.shape[1],
          .dim = tensor.shape[3],
          .stride_batch = tensor.stride[0],
          .stride_seq = tensor.stride[2],
          .stride_head = tensor.stride[1]};
}

// [B, H, L, S] of the scores.
std::array<int64_t, 4> score_shape(const SdpaArguments& arguments) {
  return {arguments.query.shape[0], arguments.query.shape[1], arguments.query.shape[2],
          arguments.key.shape[2]};
}

void check_heads(const SdpaArguments& arguments) {
  const int64_t heads = arguments.query.shape[1];
  for (const SdpaTensor* tensor : {&arguments.key, &arguments.value}) {
    const std::string name = tensor == &arguments.key ? "key" : "value";
    const int64_t fewer = tensor->shape[1];
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

void check_mask(const SdpaArguments& arguments) {
  const SdpaMask& mask = arguments.attn_mask;
  if (arguments.is_causal) {
    refuse("attn_mask is set together with is_causal: put the causal part into the mask");
  }
  if (!mask.is_boolean && mask.dtype != DType::f32 && mask.dtype != arguments.query.dtype) {
    refuse(std::string("attn_mask is ") + core::name_of(mask.dtype) +
           ": must be boolean, f32 or query's dtype, " + core::name_of(arguments.query.dtype));
  }
  if (mask.rank < 1 || mask.rank > 4) {
    refuse("attn_mask has " + text(mask.rank) + " axes: must have 1 to 4");
  }
  const std::array<int64_t, 4> scores = score_shape(arguments);
  for (int32_t i = 0; i < mask.rank; ++i) {
    const int64_t extent = scores[static_cast<size_t>(i + 4 - mask.rank)];
    if (mask.shape[i] != extent && mask.shape[i] != 1) {
      refuse("attn_mask has the shape " + shape_text(mask.shape, mask.rank) +
             ": must broadcast to " + shape_text(scores.data(), 4));
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

Problem problem_of(const SdpaArguments& arguments) {
  if (arguments.module != Module::sdpa && arguments.module != Module::eager) {
    refuse("module " + std::string(module_info(arguments.module).name) + ": must be sdpa or eager");
  }
  check_heads(arguments);
  AttentionOptions options{.is_causal = arguments.is_causal};
  options.scale = scale_of(arguments);
  options.dropout = {.probability = arguments.dropout_p, .seed = arguments.seed};
  if (arguments.attn_mask.data != nullptr) {
    check_mask(arguments);
    set_mask(arguments.attn_mask, options);
  }
  return lower(arguments.module, view_of("query", arguments.query), view_of("key", arguments.key),
               view_of("value", arguments.value), options);
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

}  // namespace

void scaled_dot_product_attention(const SdpaArguments& arguments, const SdpaTensor& out,
                                  const LseView& lse) {
  const Problem problem = problem_of(arguments);
  attention_forward(problem, {.o = view_of("out", out), .lse = lse},
                    backend_of(arguments.module, problem));
}

void scaled_dot_product_attention_backward(const SdpaArguments& arguments, const SdpaTensor& grad,
                                           const SdpaTensor& out, const LseView& lse,
                                           const SdpaGradients& gradients) {
  BackwardTensors tensors;
  tensors.o = view_of("out", out);
  tensors.lse = lse;
  tensors.d_o = view_of("grad", grad);
  tensors.dq = view_of("the gradient of query", gradients.query);
  tensors.dk = view_of("the gradient of key", gradients.key);
  tensors.dv = view_of("the gradient of value", gradients.value);
  if (gradients.attn_mask != nullptr) {
    tensors.d_bias = mask_gradient(arguments.attn_mask, gradients.attn_mask);
  }
  attention_backward(problem_of(arguments), tensors, backend_of(arguments.module));
}

}  // namespace regard
