#include "tune/model/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>

#include "tune/model/row_ops.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Inputs: {h} or {h, delta}, then the weight. Outputs: {sum, normed}; without delta the sum is h
// itself, passed through so that its gradient is added in here, with the same rounding as with
// delta.
class AddRmsNorm : public torch::autograd::Function<AddRmsNorm> {
 public:
  static variable_list forward(AutogradContext* ctx, at::TensorList addends,
                               const torch::Tensor& weight, double eps) {
    const torch::Tensor h = addends[0];
    const torch::Tensor delta = addends.size() > 1 ? addends[1] : torch::Tensor();
    const NormResult result = norm_rows(h, delta, weight, eps);
    ctx->save_for_backward({result.sum, weight, result.rstd});
    ctx->saved_data["needs_weight"] = weight.requires_grad();
    ctx->saved_data["has_delta"] = delta.defined();
    ctx->set_materialize_grads(false);
    return {result.sum, result.normed};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const bool has_delta = ctx->saved_data["has_delta"].toBool();
    torch::Tensor d_sum = grads[0], d_normed = grads[1];
    if (!d_normed.defined()) d_normed = torch::zeros_like(saved[0]);
    if (d_sum.defined()) d_sum = d_sum.contiguous();
    const NormGradients result =
        norm_rows_backward(d_normed.contiguous(), d_sum, saved[0], saved[1], saved[2],
                           ctx->saved_data["needs_weight"].toBool());
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
