#include "tune/model/linear.h"

#include <torch/csrc/autograd/custom_function.h>

#include "tune/model/held.h"
#include "tune/model/tensor_rows.h"

namespace tune {

torch::Tensor Linear::dense_weight(torch::Dtype dtype) const {
  return quantized.defined() ? dequantize_nf4(quantized, dtype) : weight.value.to(dtype);
}

namespace ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LinearCall {
  std::vector<const Linear*> layers;
  DropoutState dropout;
  bool needs_dx = false;

  bool drops(const Linear& layer) const {
    return layer.lora.defined() && layer.lora.dropout > 0.0 && dropout.is_training;
  }
};

// dropout(x) with the layer's mask; the same call in the backward draws the same mask.
torch::Tensor dropped(const torch::Tensor& x, const Linear& layer, const LinearCall& call) {
  if (!call.drops(layer)) return x;
  const torch::Tensor out = torch::empty_like(x);
  const auto key = rows::dropout_key(call.dropout.seed, layer.lora.stream);
  for_rows(x.size(0), x.size(1), [&](rows::Range range) {
    rows::dropout(matrix_of(x), matrix_of(out), key, static_cast<float>(layer.lora.dropout),
                  /*accumulate=*/false, range);
  });
  return out;
}

// dx += scale (dy B) A, through the mask where there is one.
void add_lora_dx(const torch::Tensor& dx, const torch::Tensor& d_inner, const Linear& layer,
                 const LinearCall& call) {
  const Lora& lora = layer.lora;
  if (!call.drops(layer)) {
    dx.addmm_(d_inner, lora.a.value, 1.0, lora.scale);
    return;
  }
  const torch::Tensor masked = torch::mm(d_inner, lora.a.value).mul_(lora.scale);
  const auto key = rows::dropout_key(call.dropout.seed, lora.stream);
  for_rows(dx.size(0), dx.size(1), [&](rows::Range range) {
    rows::dropout(matrix_of(masked), matrix_of(dx), key, static_cast<float>(lora.dropout),
                  /*accumulate=*/true, range);
  });
}

torch::Tensor to_f32(const torch::Tensor& gradient) { return gradient.to(torch::kFloat32); }

// Inputs: x, then of every layer the masters that are trained, in the order weight, bias, A, B.
std::vector<torch::Tensor> trained_masters(std::span<const Linear* const> layers) {
  std::vector<torch::Tensor> masters;
  for (const Linear* layer : layers) {
    for (const Parameter* p : {&layer->weight, &layer->bias, &layer->lora.a, &layer->lora.b}) {
      if (p->is_trained()) masters.push_back(p->master);
    }
  }
  return masters;
}

class Linears : public torch::autograd::Function<Linears> {
 public:
  static variable_list forward(AutogradContext* ctx, const torch::Tensor& x,
                               at::TensorList /*masters*/, LinearCall call) {
    call.needs_dx = x.requires_grad();
    variable_list outputs, saved = {x};
    for (const Linear* layer : call.layers) {
      const torch::Tensor weight = layer->dense_weight(x.scalar_type());
      torch::Tensor y = layer->bias.value.defined() ? torch::addmm(layer->bias.value, x, weight.t())
                                                    : torch::mm(x, weight.t());
      if (layer->lora.defined()) {
        const torch::Tensor inner = torch::mm(dropped(x, *layer, call), layer->lora.a.value.t());
        y.addmm_(inner, layer->lora.b.value.t(), 1.0, layer->lora.scale);
        saved.push_back(inner);  // [tokens, r]: small, and spares a product over [tokens, in]
      }
      outputs.push_back(std::move(y));
    }
    ctx->save_for_backward(saved);
    ctx->saved_data["call"] = hold(std::move(call));
    ctx->set_materialize_grads(false);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& call = held<LinearCall>(ctx->saved_data["call"]);
    torch::Tensor dx;
    variable_list master_gradients;
    size_t next_saved = 1;
    for (size_t i = 0; i < call.layers.size(); ++i) {
      const bool has_lora = call.layers[i]->lora.defined();
      const torch::Tensor inner = has_lora ? saved[next_saved++] : torch::Tensor();
      layer_backward(*call.layers[i], call, saved[0], inner, grads[i], dx, master_gradients);
    }
    variable_list result = {dx};
    result.insert(result.end(), master_gradients.begin(), master_gradients.end());
    result.push_back(torch::Tensor());  // the call itself
    return result;
  }

 private:
  // Adds the layer's share to dx and appends its masters' gradients.
  static void layer_backward(const Linear& layer, const LinearCall& call, const torch::Tensor& x,
                             const torch::Tensor& inner, const torch::Tensor& grad,
                             torch::Tensor& dx, variable_list& result) {
    const bool has_grad = grad.defined();
    const torch::Tensor dy = has_grad ? grad.contiguous() : grad;
    if (has_grad && call.needs_dx) {
      const torch::Tensor weight = layer.dense_weight(x.scalar_type());
      dx.defined() ? dx.addmm_(dy, weight) : dx = torch::mm(dy, weight);
    }
    if (layer.weight.is_trained())
      result.push_back(has_grad ? to_f32(torch::mm(dy.t(), x)) : torch::Tensor());
    if (layer.bias.is_trained())
      result.push_back(has_grad ? dy.sum(0, false, torch::kFloat32) : torch::Tensor());
    if (!layer.lora.defined()) return;
    const Lora& lora = layer.lora;
    torch::Tensor d_a, d_b;
    if (has_grad) {
      const torch::Tensor d_inner = torch::mm(dy, lora.b.value);
      if (call.needs_dx) add_lora_dx(dx, d_inner, layer, call);
      d_a = to_f32(torch::mm(d_inner.t(), dropped(x, layer, call))).mul_(lora.scale);
      d_b = to_f32(torch::mm(dy.t(), inner)).mul_(lora.scale);
    }
    if (lora.a.is_trained()) result.push_back(d_a);
    if (lora.b.is_trained()) result.push_back(d_b);
  }
};

}  // namespace

std::vector<torch::Tensor> linears(const torch::Tensor& x, std::span<const Linear* const> layers,
                                   const DropoutState& dropout) {
  const auto masters = trained_masters(layers);
  return Linears::apply(x, at::TensorList(masters),
                        LinearCall{{layers.begin(), layers.end()}, dropout, false});
}

torch::Tensor linear(const torch::Tensor& x, const Linear& layer, const DropoutState& dropout) {
  const Linear* const one[] = {&layer};
  return linears(x, one, dropout)[0];
}

}  // namespace ops
}  // namespace tune
