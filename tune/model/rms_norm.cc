#include "tune/model/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>

#include "tune/model/tensor_rows.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows whose weight gradients are summed by one thread; partial sums are then added in order, so
// that the result does not depend on the number of threads.
constexpr int64_t kRowsPerPartial = 64;

struct NormGradients {
  torch::Tensor dx, d_weight;
};

NormGradients norm_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                            const torch::Tensor& sum, const torch::Tensor& weight,
                            const torch::Tensor& rstd, bool needs_weight) {
  const int64_t num_rows = sum.size(0), width = sum.size(1);
  NormGradients result{torch::empty_like(sum), {}};
  const int64_t num_partials = (num_rows + kRowsPerPartial - 1) / kRowsPerPartial;
  torch::Tensor partials;
  if (needs_weight) partials = torch::zeros({num_partials, width}, torch::kFloat32);
  const auto dn = matrix_of(d_normed), ds = matrix_of(d_sum), x = matrix_of(sum),
             dx = matrix_of(result.dx);
  at::parallel_for(0, num_partials, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      float* to = needs_weight ? partials.data_ptr<float>() + p * width : nullptr;
      const rows::Range range{p * kRowsPerPartial, std::min(num_rows, (p + 1) * kRowsPerPartial)};
      rows::rms_norm_backward(dn, ds, x, weight.data_ptr<float>(), rstd.data_ptr<float>(), dx, to,
                              range);
    }
  });
  if (needs_weight) result.d_weight = partials.sum(0);
  return result;
}

// Inputs: {h} or {h, delta}, then the weight. Outputs: {sum, normed}; without delta the sum is h
// itself, passed through so that its gradient is added in here, with the same rounding as with
// delta.
class AddRmsNorm : public torch::autograd::Function<AddRmsNorm> {
 public:
  static variable_list forward(AutogradContext* ctx, at::TensorList addends,
                               const torch::Tensor& weight, double eps) {
    const torch::Tensor h = addends[0];
    const torch::Tensor delta = addends.size() > 1 ? addends[1] : torch::Tensor();
    const torch::Tensor sum = delta.defined() ? torch::empty_like(h) : h;
    const torch::Tensor normed = torch::empty_like(h);
    const torch::Tensor rstd = torch::empty({h.size(0)}, torch::kFloat32);
    for_rows(h.size(0), h.size(1), [&](rows::Range range) {
      rows::add_rms_norm(matrix_of(h), matrix_of(delta), weight.data_ptr<float>(),
                         static_cast<float>(eps), matrix_of(sum), matrix_of(normed),
                         rstd.data_ptr<float>(), range);
    });
    ctx->save_for_backward({sum, weight, rstd});
    ctx->saved_data["needs_weight"] = weight.requires_grad();
    ctx->saved_data["has_delta"] = delta.defined();
    ctx->set_materialize_grads(false);
    return {sum, normed};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const bool has_delta = ctx->saved_data["has_delta"].toBool();
    torch::Tensor d_sum = grads[0], d_normed = grads[1];
    if (!d_normed.defined()) d_normed = torch::zeros_like(saved[0]);
    if (d_sum.defined()) d_sum = d_sum.contiguous();
    const NormGradients result = norm_backward(d_normed.contiguous(), d_sum, saved[0], saved[1],
                                               saved[2], ctx->saved_data["needs_weight"].toBool());
    if (has_delta) return {result.dx, result.dx, result.d_weight, torch::Tensor()};
    return {result.dx, result.d_weight, torch::Tensor()};
  }
};

}  // namespace

SumAndNorm add_rms_norm(const torch::Tensor& h, const torch::Tensor& delta, const Parameter& weight,
                        double eps) {
  const torch::Tensor& factor = weight.is_trained() ? weight.master : weight.value;
  std::vector<torch::Tensor> addends = {h};
  if (delta.defined()) addends.push_back(delta);
  auto outputs = AddRmsNorm::apply(at::TensorList(addends), factor, eps);
  return {outputs[0], outputs[1]};
}

}  // namespace tune::ops
