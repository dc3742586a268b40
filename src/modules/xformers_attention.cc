// memory_efficient_attention: grouped heads as strided views, a bias object, one call or one a
// group.
#include <string>

#include "core/dtype.h"
#include "modules/xformers_checks.h"
#include "modules/xformers_staging.h"
#include "regard/modules.h"
#include "regard/xformers.h"

namespace regard::xformers {
namespace {

using checks::text;

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

// One call a group would draw the same dropout mask for all groups, and write a bias gradient that
// is theirs together once for each.
bool needs_one_call(const Arguments& arguments, const BiasGradient& d_bias) {
  return arguments.p > 0.0f || (d_bias.data != nullptr && d_bias.stride_head == 0);
}

// The dtypes to compute in: f32 where 16-bit operands have an output of another dtype, so that it
// is rounded once. What is f8 is the engine's to judge.
struct Formats {
  DType operands, output;
};

Formats formats_of(const Arguments& arguments, const Tensor& out) {
  const DType dtype = arguments.q.dtype;
  const bool has_f8 = dtype == DType::f8_e4m3 || out.dtype == DType::f8_e4m3;
  return has_f8 || dtype == out.dtype ? Formats{dtype, out.dtype} : Formats{DType::f32, DType::f32};
}

bool needs_staging(const Arguments& arguments, const Grouping& grouping, const Tensor& out,
                   const BiasGradient& d_bias) {
  const Formats formats = formats_of(arguments, out);
  return formats.operands != arguments.q.dtype || formats.output != out.dtype ||
         (!grouping.is_whole && needs_one_call(arguments, d_bias));
}

// Copies of valid operands.
Arguments staged_arguments(const Arguments& arguments, const Grouping& grouping, DType dtype,
                           Staging& staging) {
  for_each_call(grouping, [&](int64_t group) {
    (void)why_unsupported(Backend::cpu_tiled, problem_of(arguments, grouping, group));
  });
  Arguments staged = arguments;
  staged.q = staging.copy_of(arguments.q, dtype);
  staged.k = staging.copy_of(arguments.k, dtype, grouping.shares_keys);
  staged.v = staging.copy_of(arguments.v, dtype, grouping.shares_keys);
  return staged;
}

Tensor shape_of_out(const Arguments& arguments) {
  Tensor out = arguments.q;
  out.dim = arguments.v.dim;
  return out;
}

void run_forward(const Arguments& arguments, const Tensor& out, const LseView& lse) {
  const Grouping grouping = grouping_of(arguments, {&out}, {});
  if (needs_staging(arguments, grouping, out, {})) {
    Staging staging;
    const Formats formats = formats_of(arguments, out);
    const Arguments staged = staged_arguments(arguments, grouping, formats.operands, staging);
    check_staged("out", out, shape_of_out(arguments));
    const Tensor staged_out = staging.scratch_of(out, formats.output);
    run_forward(staged, staged_out, lse);
    copy_elements(staged_out, out);
    return;
  }
  for_each_call(grouping, [&](int64_t group) {
    attention_forward(problem_of(arguments, grouping, group),
                      {.o = grouping.queries(out, group), .lse = lse_of(lse, arguments, group)});
  });
}

void run_backward(const Arguments& arguments, const Tensor& grad, const Tensor& out,
                  const LseView& lse, const Gradients& gradients);

void run_staged_backward(const Arguments& arguments, const Grouping& grouping, const Tensor& grad,
                         const Tensor& out, const LseView& lse, const Gradients& gradients) {
  Staging staging;
  const Formats formats = formats_of(arguments, out);
  const Arguments staged = staged_arguments(arguments, grouping, formats.operands, staging);
  const Tensor like = shape_of_out(arguments);
  check_staged("grad", grad, like);
  check_staged("out", out, like);
  if (grad.dtype != out.dtype) {
    refuse(std::string("grad is ") + core::name_of(grad.dtype) + " and out " +
           core::name_of(out.dtype) + ": must be equal");
  }
  const bool is_shared = grouping.shares_keys;
  check_staged("dq", gradients.dq, arguments.q);
  check_staged("dk", gradients.dk, arguments.k, is_shared);
  check_staged("dv", gradients.dv, arguments.v, is_shared);
  Gradients written = gradients;
  written.dq = staging.scratch_of(gradients.dq, gradients.dq.dtype);
  written.dk = staging.scratch_of(gradients.dk, gradients.dk.dtype, is_shared);
  written.dv = staging.scratch_of(gradients.dv, gradients.dv.dtype, is_shared);
  run_backward(staged, staging.copy_of(grad, formats.output), staging.copy_of(out, formats.output),
               lse, written);
  copy_elements(written.dq, gradients.dq);
  copy_elements(written.dk, gradients.dk);
  copy_elements(written.dv, gradients.dv);
}

void run_backward(const Arguments& arguments, const Tensor& grad, const Tensor& out,
                  const LseView& lse, const Gradients& gradients) {
  const Grouping grouping =
      grouping_of(arguments, {&grad, &out, &gradients.dq}, {&gradients.dk, &gradients.dv});
  if (needs_staging(arguments, grouping, out, gradients.d_bias)) {
    run_staged_backward(arguments, grouping, grad, out, lse, gradients);
    return;
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
  run_backward(arguments, grad, out, lse, gradients);
}

}  // namespace regard::xformers
