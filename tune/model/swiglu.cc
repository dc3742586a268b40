#include "tune/model/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>

#include "tune/model/row_ops.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& gate,
                               const torch::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return swiglu_rows(gate, up);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const SwigluGradients result = swiglu_rows_backward(grads[0].contiguous(), saved[0], saved[1]);
    return {result.d_gate, result.d_up};
  }
};

}  // namespace

torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up) {
  return SwiGlu::apply(gate, up);
}

}  // namespace tune::ops
