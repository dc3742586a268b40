#include "tune/model/attention_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "regard/attention.h"
#include "tune/model/device.h"
#include "tune/model/eager_attention.h"
#include "tune/model/flex_programs.h"
#include "tune/model/held.h"
#include "tune/model/row_ops.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct AttentionCall {
  AttentionShape shape;
  SequenceLayout layout;
};

// The engine's options for one call over `documents`, whose query 0 stands at position
// `first_query` of its sequence.
regard::AttentionOptions engine_options(const AttentionShape& shape,
                                        const regard::Documents& documents, int64_t first_query) {
  regard::AttentionOptions options;
  options.documents = documents;
  options.training = shape.choice.is_training;
  if (shape.window) options.window = {*shape.window - 1, 0};
  if (shape.choice.module == regard::Module::s2) options.s2_row_length = shape.choice.row_length;
  if (shape.choice.programs != nullptr) shape.choice.programs->bind(first_query, options);
  return options;
}

// [tokens, heads*D] as the engine's view [1, tokens, heads, D].
regard::View heads_view(const torch::Tensor& tensor, int64_t heads, int64_t head_dim) {
  regard::View view;
  view.data = tensor.data_ptr();
  view.dtype = tensor.scalar_type() == torch::kBFloat16 ? regard::DType::bf16 : regard::DType::f32;
  view.batch = 1;
  view.seq = tensor.size(0);
  view.heads = heads;
  view.dim = head_dim;
  view.stride_batch = tensor.size(0) * tensor.stride(0);
  view.stride_seq = tensor.stride(0);
  view.stride_head = head_dim;
  return view;
}

// A GPU has one back end for all modules but eager.
regard::Backend backend_on(const torch::Device& device, regard::Module module) {
  return device.is_cuda() ? regard::Backend::cuda : regard::backend_of(module);
}

// Whether the module's kernels take `tensor` as bf16 although the model computes in f32.
bool casts_to_bf16(const torch::Tensor& tensor, regard::Module module) {
  return tensor.is_cuda() && tensor.scalar_type() == torch::kFloat32 && takes_bf16_on_gpu(module);
}

regard::Problem problem_of(const AttentionCall& call, const torch::Tensor& q,
                           const torch::Tensor& k, const torch::Tensor& v) {
  const AttentionShape& shape = call.shape;
  const auto* offsets = call.layout.document_offsets.data_ptr<int32_t>();
  const auto count = static_cast<int32_t>(call.layout.document_offsets.numel() - 1);
  const regard::AttentionOptions options = engine_options(shape, {offsets, offsets, count}, 0);
  return regard::lower(shape.choice.module, heads_view(q, shape.num_heads, shape.head_dim),
                       heads_view(k, shape.num_kv_heads, shape.head_dim),
                       heads_view(v, shape.num_kv_heads, shape.head_dim), options);
}

// LSE [1, Hq, tokens].
regard::LseView lse_view(const torch::Tensor& lse) {
  return {lse.data_ptr<float>(), lse.numel(), lse.size(1)};
}

void rotate_back(const torch::Tensor& gradient, const AttentionCall& call) {
  rotate_rows(gradient, gradient, call.layout.cos, call.layout.sin, call.shape.head_dim, -1.0f);
}

// FlexPrograms::trained_values(), which is empty where nothing is trained.
torch::Tensor program_values(const AttentionShape& shape) {
  const FlexPrograms* programs = shape.choice.programs;
  return programs == nullptr ? torch::empty({0}) : programs->trained_values();
}

std::vector<float*> gradient_places(const AttentionShape& shape, const torch::Tensor& d_program) {
  if (d_program.numel() == 0) return {};
  return shape.choice.programs->gradient_places(d_program.data_ptr<float>());
}

bool is_eager_on_gpu(const AttentionCall& call, const torch::Tensor& q) {
  return q.is_cuda() && call.shape.choice.module == regard::Module::eager;
}

EagerAttention eager_of(const AttentionCall& call) {
  const AttentionShape& shape = call.shape;
  const auto* first = call.layout.document_offsets.data_ptr<int32_t>();
  const std::vector<int32_t> offsets(first, first + call.layout.document_offsets.numel());
  return {shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.window, offsets, offsets};
}

// The output, and the LSE f32 [Hq, tokens].
AttentionOutput forward_of(const AttentionCall& call, const torch::Tensor& q,
                           const torch::Tensor& k, const torch::Tensor& v) {
  if (is_eager_on_gpu(call, q)) return eager_of(call).forward(q, k, v);
  const AttentionShape& shape = call.shape;
  const AttentionOutput output{
      torch::empty_like(q),
      torch::empty({shape.num_heads, q.size(0)}, q.options().dtype(torch::kFloat32))};
  follow_torch(q.device());
  regard::attention_forward(
      problem_of(call, q, k, v),
      {heads_view(output.o, shape.num_heads, shape.head_dim), lse_view(output.lse)},
      backend_on(q.device(), shape.choice.module));
  return output;
}

// `d_program` is written too.
AttentionGradients backward_of(const AttentionCall& call, const torch::Tensor& q,
                               const torch::Tensor& k, const torch::Tensor& v,
                               const AttentionOutput& output, const torch::Tensor& d_o,
                               const torch::Tensor& d_program) {
  if (is_eager_on_gpu(call, q)) return eager_of(call).backward(q, k, v, output, d_o);
  const AttentionShape& shape = call.shape;
  const AttentionGradients gradients{torch::empty_like(q), torch::empty_like(k),
                                     torch::empty_like(v)};
  const auto view = [&](const torch::Tensor& tensor, int64_t heads) {
    return heads_view(tensor, heads, shape.head_dim);
  };
  regard::BackwardTensors tensors;
  tensors.o = view(output.o, shape.num_heads);
  tensors.lse = lse_view(output.lse);
  tensors.d_o = view(d_o, shape.num_heads);
  tensors.dq = view(gradients.dq, shape.num_heads);
  tensors.dk = view(gradients.dk, shape.num_kv_heads);
  tensors.dv = view(gradients.dv, shape.num_kv_heads);
  const std::vector<float*> places = gradient_places(shape, d_program);
  tensors.d_tensors = places.empty() ? nullptr : places.data();
  follow_torch(q.device());
  regard::attention_backward(problem_of(call, q, k, v), tensors,
                             backend_on(q.device(), shape.choice.module));
  return gradients;
}

class RotaryAttention : public torch::autograd::Function<RotaryAttention> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& q_in,
                               const torch::Tensor& k_in, const torch::Tensor& v_in,
                               const torch::Tensor& program_values, AttentionCall call) {
    const auto dtype = q_in.scalar_type();
    const auto kernel_dtype =
        casts_to_bf16(q_in, call.shape.choice.module) ? torch::kBFloat16 : dtype;
    const torch::Tensor q = rotated(q_in, call.layout, call.shape.head_dim, 1.0f).to(kernel_dtype);
    const torch::Tensor k = rotated(k_in, call.layout, call.shape.head_dim, 1.0f).to(kernel_dtype);
    const torch::Tensor v = v_in.to(kernel_dtype);
    const AttentionOutput output = forward_of(call, q, k, v);
    ctx->save_for_backward({q, k, v, output.o, output.lse, program_values});
    ctx->saved_data["call"] = hold(std::move(call));
    return output.o.to(dtype);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const torch::Tensor& q = saved[0];
    const auto& call = held<AttentionCall>(ctx->saved_data["call"]);
    const auto dtype = grads[0].scalar_type();
    const torch::Tensor d_o = grads[0].to(q.scalar_type()).contiguous();
    const torch::Tensor d_program = torch::zeros_like(saved[5]);
    AttentionGradients gradients =
        backward_of(call, q, saved[1], saved[2], {saved[3], saved[4]}, d_o, d_program);
    gradients.dq = gradients.dq.to(dtype);
    gradients.dk = gradients.dk.to(dtype);
    rotate_back(gradients.dq, call);
    rotate_back(gradients.dk, call);
    return {gradients.dq, gradients.dk, gradients.dv.to(dtype), d_program, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor rotated(const torch::Tensor& x, const SequenceLayout& layout, int64_t head_dim,
                      float sign) {
  const torch::Tensor out = torch::empty_like(x);
  rotate_rows(x, out, layout.cos, layout.sin, head_dim, sign);
  return out;
}

torch::Tensor rotary_attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const AttentionShape& shape,
                               const SequenceLayout& layout) {
  return RotaryAttention::apply(q, k, v, program_values(shape), AttentionCall{shape, layout});
}

torch::Tensor attention_to_cache(const torch::Tensor& q_in, const torch::Tensor& k_in,
                                 const torch::Tensor& v_in, const AttentionShape& shape) {
  const regard::Module module = shape.choice.module;
  const auto kernel_dtype = casts_to_bf16(q_in, module) ? torch::kBFloat16 : q_in.scalar_type();
  const torch::Tensor q = q_in.to(kernel_dtype), k = k_in.to(kernel_dtype),
                      v = v_in.to(kernel_dtype);
  const auto num_queries = static_cast<int32_t>(q.size(0)),
             num_keys = static_cast<int32_t>(k.size(0));
  if (q.is_cuda() && module == regard::Module::eager) {
    return EagerAttention{shape.num_heads, shape.num_kv_heads, shape.head_dim,
                          shape.window,    {0, num_queries},   {0, num_keys}}
        .forward(q, k, v)
        .o;
  }
  const torch::Tensor o = torch::empty_like(q);
  regard::Problem problem =
      regard::lower(module, heads_view(q, shape.num_heads, shape.head_dim),
                    heads_view(k, shape.num_kv_heads, shape.head_dim),
                    heads_view(v, shape.num_kv_heads, shape.head_dim),
                    engine_options(shape, {}, int64_t{num_keys} - num_queries));
  // The new queries are the last of the sequence, whatever a module assumes of Sq != Sk.
  if (problem.causal != regard::Causal::none) problem.causal = regard::Causal::lower_right;
  follow_torch(q.device());
  regard::attention_forward(
      problem, {heads_view(o, shape.num_heads, shape.head_dim), {}},
      q.is_cuda() ? regard::Backend::cuda : regard::backend_of(module, problem));
  return o.to(q_in.scalar_type());
}

bool takes_bf16_on_gpu(regard::Module module) {
  using regard::Module;
  return module == Module::flash_attention_2 || module == Module::flash_attention_3 ||
         module == Module::s2 || module == Module::sage;
}

regard::Problem attention_problem(const torch::Tensor& q, const torch::Tensor& k,
                                  const torch::Tensor& v, const AttentionShape& shape,
                                  const SequenceLayout& layout) {
  return problem_of({shape, layout}, q, k, v);
}

}  // namespace tune::ops
