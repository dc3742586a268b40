#include "tune/model/checkpoint.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "tune/model/held.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Body = std::function<torch::Tensor(const torch::Tensor&)>;

class Checkpointed : public torch::autograd::Function<Checkpointed> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x,
                               const torch::Tensor& /*anchor*/, Body body) {
    ctx->save_for_backward({x});
    ctx->saved_data["needs_dx"] = x.requires_grad();
    torch::Tensor y = body(x.detach());  // forward() runs without gradients
    ctx->saved_data["body"] = hold(std::move(body));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const bool needs_dx = ctx->saved_data["needs_dx"].toBool();
    const torch::Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(needs_dx);
    {
      const torch::AutoGradMode with_gradients(true);
      const torch::Tensor y = held<Body>(ctx->saved_data["body"])(x);
      torch::autograd::backward({y}, {grads[0]});
    }
    return {needs_dx ? x.grad() : torch::Tensor(), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor checkpointed(const torch::Tensor& x, const torch::Tensor& anchor, const Body& body) {
  return Checkpointed::apply(x, anchor, body);
}

}  // namespace tune::ops
