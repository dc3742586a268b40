#include "tune/model/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>

#include "tune/model/tensor_rows.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& gate,
                               const torch::Tensor& up) {
    const torch::Tensor act = torch::empty_like(gate);
    for_rows(gate.size(0), gate.size(1), [&](rows::Range range) {
      rows::swiglu(matrix_of(gate), matrix_of(up), matrix_of(act), range);
    });
    ctx->save_for_backward({gate, up});
    return act;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const torch::Tensor &gate = saved[0], &up = saved[1], d_act = grads[0].contiguous();
    const torch::Tensor d_gate = torch::empty_like(gate), d_up = torch::empty_like(up);
    for_rows(gate.size(0), gate.size(1), [&](rows::Range range) {
      rows::swiglu_backward(matrix_of(d_act), matrix_of(gate), matrix_of(up), matrix_of(d_gate),
                            matrix_of(d_up), range);
    });
    return {d_gate, d_up};
  }
};

}  // namespace

torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up) {
  return SwiGlu::apply(gate, up);
}

}  // namespace tune::ops
