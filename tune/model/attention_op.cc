#include "tune/model/attention_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "regard/attention.h"
#include "tune/model/flex_programs.h"
#include "tune/model/held.h"
#include "tune/model/tensor_rows.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct AttentionCall {
  AttentionShape shape;
  SequenceLayout layout;
};

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
  const int64_t head_dim = call.shape.head_dim;
  for_rows(gradient.size(0), gradient.size(1), [&](rows::Range range) {
    rows::rotate(matrix_of(gradient), matrix_of(gradient), call.layout.cos.data_ptr<float>(),
                 call.layout.sin.data_ptr<float>(), head_dim, -1.0f, range);
  });
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

class RotaryAttention : public torch::autograd::Function<RotaryAttention> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& q_in,
                               const torch::Tensor& k_in, const torch::Tensor& v,
                               const torch::Tensor& program_values, AttentionCall call) {
    const AttentionShape& shape = call.shape;
    const torch::Tensor q = rotated(q_in, call.layout, shape.head_dim, 1.0f);
    const torch::Tensor k = rotated(k_in, call.layout, shape.head_dim, 1.0f);
    const torch::Tensor o = torch::empty_like(q);
    const torch::Tensor lse = torch::empty({shape.num_heads, q.size(0)}, torch::kFloat32);
    regard::attention_forward(problem_of(call, q, k, v),
                              {heads_view(o, shape.num_heads, shape.head_dim), lse_view(lse)},
                              regard::backend_of(shape.choice.module));
    ctx->save_for_backward({q, k, v, o, lse, program_values});
    ctx->saved_data["call"] = hold(std::move(call));
    return o;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const torch::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &o = saved[3], &lse = saved[4];
    const auto& call = held<AttentionCall>(ctx->saved_data["call"]);
    const AttentionShape& shape = call.shape;
    const torch::Tensor d_o = grads[0].contiguous();
    const torch::Tensor dq = torch::empty_like(q), dk = torch::empty_like(k),
                        dv = torch::empty_like(v);
    const auto view = [&](const torch::Tensor& tensor, int64_t heads) {
      return heads_view(tensor, heads, shape.head_dim);
    };
    regard::BackwardTensors tensors;
    tensors.o = view(o, shape.num_heads);
    tensors.lse = lse_view(lse);
    tensors.d_o = view(d_o, shape.num_heads);
    tensors.dq = view(dq, shape.num_heads);
    tensors.dk = view(dk, shape.num_kv_heads);
    tensors.dv = view(dv, shape.num_kv_heads);
    const torch::Tensor d_program = torch::zeros_like(saved[5]);
    const std::vector<float*> places = gradient_places(shape, d_program);
    tensors.d_tensors = places.empty() ? nullptr : places.data();
    regard::attention_backward(problem_of(call, q, k, v), tensors,
                               regard::backend_of(shape.choice.module));
    rotate_back(dq, call);
    rotate_back(dk, call);
    return {dq, dk, dv, d_program, torch::Tensor()};
  }
};

}  // namespace

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

torch::Tensor rotated(const torch::Tensor& x, const SequenceLayout& layout, int64_t head_dim,
                      float sign) {
  const torch::Tensor out = torch::empty_like(x);
  for_rows(x.size(0), x.size(1), [&](rows::Range range) {
    rows::rotate(matrix_of(x), matrix_of(out), layout.cos.data_ptr<float>(),
                 layout.sin.data_ptr<float>(), head_dim, sign, range);
  });
  return out;
}

torch::Tensor rotary_attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const AttentionShape& shape,
                               const SequenceLayout& layout) {
  return RotaryAttention::apply(q, k, v, program_values(shape), AttentionCall{shape, layout});
}

}  // namespace tune::ops
