// memory_efficient_attention: grouped heads as strided views, a bias object, one call or one a
// group.
#include <string>

#include "core/dtype.h"
#include "modules/xformers_checks.h"
#include "regard/modules.h"
#include "regard/xformers.h"

namespace regard::xformers {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

// Keys and values that the heads of a group read together.
bool is_expanded(const Tensor& tensor) { return tensor.heads > 1 && tensor.stride_head == 0; }

// Heads g*H + h then have one stride.
bool has_even_heads(const Tensor& tensor, bool is_shared) {
  return is_shared || tensor.groups == 1 || tensor.heads == 1 ||
         tensor.stride_group == tensor.heads * tensor.stride_head;
}

// All groups in one View where their heads lie evenly, else group `group` alone. A shared operand
// gives one head a group.
struct Grouping {
  bool is_whole = true;
  bool shares_keys = false;
  int64_t groups = 1;

  View view_of(const Tensor& tensor, bool is_shared, int64_t group) const {
    View view{
        .data = tensor.data,
        .dtype = tensor.dtype,
        .batch = tensor.batch,
        .seq = tensor.seq,
        .heads = is_shared ? 1 : tensor.heads,
        .dim = tensor.dim,
        .stride_batch = tensor.stride_batch,
        .stride_seq = tensor.stride_seq,
        .stride_head = is_shared || tensor.heads == 1 ? tensor.stride_group : tensor.stride_head};
    if (is_whole) {
      view.heads *= tensor.groups;
    } else if (view.data != nullptr) {
      view.data = static_cast<char*>(view.data) +
                  group * tensor.stride_group * core::bytes_of(tensor.dtype);
    }
    return view;
  }
  View queries(const Tensor& tensor, int64_t group) const { return view_of(tensor, false, group); }
  View keys(const Tensor& tensor, int64_t group) const {
    return view_of(tensor, shares_keys, group);
  }
};

void check_groups(const Arguments& arguments) {
  for (const Tensor* tensor : {&arguments.k, &arguments.v}) {
    const std::string name = tensor == &arguments.k ? "k" : "v";
    check_same("q.groups", arguments.q.groups, name + ".groups", tensor->groups);
    if (arguments.q.groups > 1) {
      check_same("q.heads", arguments.q.heads, name + ".heads", tensor->heads);
    }
  }
}

Grouping grouping_of(const Arguments& arguments, std::initializer_list<const Tensor*> like_q,
                     std::initializer_list<const Tensor*> like_k) {
  check_groups(arguments);
  Grouping grouping;
  grouping.groups = arguments.q.groups;
  grouping.shares_keys = is_expanded(arguments.k) && is_expanded(arguments.v);
  grouping.is_whole = has_even_heads(arguments.q, false) &&
                      has_even_heads(arguments.k, grouping.shares_keys) &&
                      has_even_heads(arguments.v, grouping.shares_keys);
  for (const Tensor* tensor : like_q) {
    grouping.is_whole = grouping.is_whole && has_even_heads(*tensor, false);
  }
  for (const Tensor* tensor : like_k) {
    if (grouping.shares_keys && !is_expanded(*tensor)) {
      refuse("k and v are expanded over " + text(tensor->heads) +
             " heads of a group, and a gradient of theirs is not: give it a stride_head of 0");
    }
    grouping.is_whole = grouping.is_whole && has_even_heads(*tensor, grouping.shares_keys);
  }
  if (!grouping.is_whole && arguments.p > 0.0f) {
    // One call a group would draw the same mask for all groups.
    refuse("dropout " + std::to_string(arguments.p) +
           " with groups whose heads are not evenly spaced (stride_group != heads * stride_head): "
           "lay the heads of [B, M, G, H, K] side by side");
  }
  return grouping;
}

Problem problem_of(const Arguments& arguments, const Grouping& grouping, int64_t group) {
  AttentionOptions options{.is_causal = false};  // what is seen, the bias object says
  options.scale = arguments.scale;
  options.dropout = {.probability = arguments.p, .seed = arguments.seed};
  Problem problem =
      lower(Module::xformers, grouping.queries(arguments.q, group),
            grouping.keys(arguments.k, group), grouping.keys(arguments.v, group), options);
  if (arguments.attn_bias != nullptr) {
    arguments.attn_bias->lower(problem);
  }
  if (problem.bias.data != nullptr) {
    problem.bias.data =
        static_cast<const char*>(problem.bias.data) +
        group * arguments.q.heads * problem.bias.stride_head * core::bytes_of(problem.bias.dtype);
  }
  return problem;
}

LseView lse_of(const LseView& lse, const Arguments& arguments, int64_t group) {
  return lse.data == nullptr
             ? lse
             : LseView{.data = lse.data + group * arguments.q.heads * lse.stride_head,
                       .stride_batch = lse.stride_batch,
                       .stride_head = lse.stride_head};
}

// Runs `work(group)` once for all groups together, or for each.
template <typename Work>
void for_each_call(const Grouping& grouping, const Work& work) {
  for (int64_t group = 0; group < (grouping.is_whole ? 1 : grouping.groups); ++group) {
    work(group);
  }
}

void run_forward(const Arguments& arguments, const Tensor& out, const LseView& lse) {
  const Grouping grouping = grouping_of(arguments, {&out}, {});
  for_each_call(grouping, [&](int64_t group) {
    attention_forward(problem_of(arguments, grouping, group),
                      {.o = grouping.queries(out, group), .lse = lse_of(lse, arguments, group)});
  });
}

}  // namespace

View single_head(void* data, DType dtype, int64_t batch, int64_t seq, int64_t dim) {
  return {.data = data,
          .dtype = dtype,
          .batch = batch,
          .seq = seq,
          .heads = 1,
          .dim = dim,
          .stride_batch = seq * dim,
          .stride_seq = dim,
          .stride_head = dim};
}

void memory_efficient_attention(const Arguments& arguments, const Tensor& out) {
  run_forward(arguments, out, {});
}

void memory_efficient_attention_forward_requires_grad(const Arguments& arguments, const Tensor& out,
                                                      const LseView& lse) {
  if (lse.data == nullptr) {
    refuse("lse is null: a backward needs the log-sum-exp of every row");
  }
  run_forward(arguments, out, lse);
}

void memory_efficient_attention_partial(const Arguments& arguments, const Tensor& out,
                                        const LseView& lse) {
  if (arguments.p != 0.0f) {
    refuse("dropout " + std::to_string(arguments.p) +
           ": parts of an attention are merged without dropout; set p to 0");
  }
  memory_efficient_attention_forward_requires_grad(arguments, out, lse);
}

void memory_efficient_attention_backward(const Arguments& arguments, const Tensor& grad,
                                         const Tensor& out, const LseView& lse,
                                         const Gradients& gradients) {
  const Grouping grouping =
      grouping_of(arguments, {&grad, &out, &gradients.dq}, {&gradients.dk, &gradients.dv});
  if (!grouping.is_whole && gradients.d_bias.data != nullptr && gradients.d_bias.stride_head == 0) {
    refuse(
        "the gradient of a bias that broadcasts over heads, with groups whose heads are not evenly "
        "spaced: lay the heads of [B, M, G, H, K] side by side");
  }
  for_each_call(grouping, [&](int64_t group) {
    BackwardTensors tensors;
    tensors.o = grouping.queries(out, group);
    tensors.lse = lse_of(lse, arguments, group);
    tensors.d_o = grouping.queries(grad, group);
    tensors.dq = grouping.queries(gradients.dq, group);
    tensors.dk = grouping.keys(gradients.dk, group);
    tensors.dv = grouping.keys(gradients.dv, group);
    tensors.d_bias = gradients.d_bias;
    if (tensors.d_bias.data != nullptr) {
      tensors.d_bias.data += group * arguments.q.heads * tensors.d_bias.stride_head;
    }
    attention_backward(problem_of(arguments, grouping, group), tensors);
  });
}

}  // namespace regard::xformers
