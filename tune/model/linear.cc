#include "tune/model/linear.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "tune/model/held.h"
#include "tune/model/row_ops.h"

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
  dropout_rows(x, out, key, layer.lora.dropout, /*accumulate=*/false);
  return out;
}

// dx += d_inner A through the layer's mask.
void add_dropped_dx(const torch::Tensor& dx, const torch::Tensor& d_inner, const Linear& layer,
                    const LinearCall& call) {
  const Lora& lora = layer.lora;
  const torch::Tensor masked = torch::mm(d_inner, lora.a.value);
  dropout_rows(masked, dx, rows::dropout_key(call.dropout.seed, lora.stream), lora.dropout,
               /*accumulate=*/true);
}

// to = scale a b, whatever was in it.
torch::Tensor scaled_product(const torch::Tensor& to, const torch::Tensor& a,
                             const torch::Tensor& b, double scale) {
  return torch::Tensor(to).addmm_(a, b, /*beta=*/0.0, /*alpha=*/scale);
}

// The adapted layers of a call side by side: scale x A^T of all of them is one [tokens, sum of
// ranks] tensor, "inner" below. Where no dropout gives every layer its own x, the A stand under
// each other, and one product serves all, which reads x (or writes dx) once instead of once a
// layer.
class LoraGroup {
 public:
  explicit LoraGroup(const LinearCall& call) : call_(call) {
    for (const Linear* layer : call.layers) {
      if (!layer->lora.defined()) continue;
      columns_.push_back({layer, width_});
      width_ += layer->lora.a.value.size(0);
      is_shared_ = is_shared_ && !call.drops(*layer) && layer->lora.scale == scale();
    }
  }

  bool is_empty() const { return columns_.empty(); }
  bool is_shared() const { return is_shared_; }

  // The layer's columns of inner or of its gradient.
  torch::Tensor columns_of(const torch::Tensor& inner, const Linear& layer) const {
    const Column& column = column_of(layer);
    return inner.narrow(1, column.first, layer.lora.a.value.size(0));
  }
  // The layer's rows of stacked_a() or of its gradient.
  torch::Tensor rows_of(const torch::Tensor& stacked, const Linear& layer) const {
    return stacked.narrow(0, column_of(layer).first, layer.lora.a.value.size(0));
  }

  torch::Tensor stacked_a() const {
    if (columns_.size() == 1) return columns_.front().layer->lora.a.value;
    std::vector<torch::Tensor> parts;
    for (const Column& column : columns_) parts.push_back(column.layer->lora.a.value);
    return torch::cat(parts);
  }
  torch::Tensor empty_inner(const torch::Tensor& x) const {
    return torch::empty({x.size(0), width_}, x.options());
  }
  torch::Tensor inner_of(const torch::Tensor& x) const {
    const torch::Tensor inner = empty_inner(x);
    if (is_shared_) return scaled_product(inner, x, stacked_a().t(), scale());
    for (const Column& column : columns_) {
      scaled_product(columns_of(inner, *column.layer), dropped(x, *column.layer, call_),
                     column.layer->lora.a.value.t(), column.layer->lora.scale);
    }
    return inner;
  }

 private:
  double scale() const { return columns_.front().layer->lora.scale; }

  struct Column {
    const Linear* layer;
    int64_t first;
  };
  const Column& column_of(const Linear& layer) const {
    return *std::find_if(columns_.begin(), columns_.end(),
                         [&](const Column& column) { return column.layer == &layer; });
  }

  const LinearCall& call_;
  std::vector<Column> columns_;
  int64_t width_ = 0;
  bool is_shared_ = true;
};

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

// What the passes over the layers of one backward collect.
struct LinearBackward {
  const LinearCall& call;
  const LoraGroup& group;
  const torch::Tensor& x;
  const torch::Tensor& inner;    // of all adapted layers
  const torch::Tensor& d_inner;  // its gradient
  torch::Tensor dx;              // undefined until something is added

  // The adapters' part of dx comes first where one product gives it: the large products then add to
  // it on the way, instead of a small one reading and writing all of dx again.
  void start_dx() {
    if (call.needs_dx && !group.is_empty() && group.is_shared()) {
      dx = torch::mm(d_inner, group.stacked_a());
    }
  }
  void add_dx(const Linear& layer, const torch::Tensor& dy) {
    if (!call.needs_dx) return;
    const torch::Tensor weight = layer.dense_weight(x.scalar_type());
    dx.defined() ? dx.addmm_(dy, weight) : dx = torch::mm(dy, weight);
    if (layer.lora.defined() && !group.is_shared()) {
      add_dropped_dx(dx, group.columns_of(d_inner, layer), layer, call);
    }
  }

  // Of weight, bias, A and B as far as they are trained. `stacked` is the gradient of stacked_a()
  // where the group shares it.
  void add_masters(const Linear& layer, const torch::Tensor& dy, const torch::Tensor& stacked,
                   variable_list& result) const {
    const Lora& lora = layer.lora;
    const auto push = [&](const Parameter& parameter, auto gradient) {
      if (parameter.is_trained()) result.push_back(dy.defined() ? gradient() : torch::Tensor());
    };
    push(layer.weight, [&] { return to_f32(torch::mm(dy.t(), x)); });
    push(layer.bias, [&] { return dy.sum(0, false, torch::kFloat32); });
    push(lora.a, [&] {
      if (group.is_shared()) return group.rows_of(stacked, layer);
      const torch::Tensor columns = group.columns_of(d_inner, layer);
      return to_f32(torch::mm(columns.t(), dropped(x, layer, call)));
    });
    push(lora.b, [&] { return to_f32(torch::mm(dy.t(), group.columns_of(inner, layer))); });
  }
};

class Linears : public torch::autograd::Function<Linears> {
 public:
  static variable_list forward(AutogradContext* ctx, const torch::Tensor& x,
                               at::TensorList /*masters*/, LinearCall call) {
    call.needs_dx = x.requires_grad();
    const LoraGroup group(call);
    variable_list outputs, saved = {x};
    // [tokens, ranks]: small, and spares a product over [tokens, in] in the backward
    if (!group.is_empty()) saved.push_back(group.inner_of(x));
    for (const Linear* layer : call.layers) {
      const torch::Tensor inner =
          layer->lora.defined() ? group.columns_of(saved[1], *layer) : torch::Tensor();
      outputs.push_back(output_of(*layer, x, inner));
    }
    ctx->save_for_backward(saved);
    ctx->saved_data["call"] = hold(std::move(call));
    ctx->set_materialize_grads(false);
    return outputs;
  }

  // The adapter's product comes first, and the large one adds to it, as in start_dx().
  static torch::Tensor output_of(const Linear& layer, const torch::Tensor& x,
                                 const torch::Tensor& inner) {
    const torch::Tensor weight = layer.dense_weight(x.scalar_type());
    const torch::Tensor& bias = layer.bias.value;
    if (!inner.defined()) {
      return bias.defined() ? torch::addmm(bias, x, weight.t()) : torch::mm(x, weight.t());
    }
    const torch::Tensor b = layer.lora.b.value.t();
    torch::Tensor y = bias.defined() ? torch::addmm(bias, inner, b) : torch::mm(inner, b);
    return y.addmm_(x, weight.t());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& call = held<LinearCall>(ctx->saved_data["call"]);
    const LoraGroup group(call);
    const torch::Tensor inner = group.is_empty() ? torch::Tensor() : saved[1];
    // A layer without a gradient leaves its columns 0.
    const bool is_complete = std::all_of(grads.begin(), grads.end(),
                                         [](const torch::Tensor& grad) { return grad.defined(); });
    torch::Tensor d_inner;
    if (!group.is_empty()) {
      d_inner = is_complete ? group.empty_inner(saved[0]) : torch::zeros_like(inner);
    }
    LinearBackward backward{call, group, saved[0], inner, d_inner, {}};
    for (size_t i = 0; i < call.layers.size(); ++i) {
      if (!grads[i].defined()) continue;
      grads[i] = grads[i].contiguous();
      const Lora& lora = call.layers[i]->lora;
      if (!lora.defined()) continue;
      scaled_product(group.columns_of(d_inner, *call.layers[i]), grads[i], lora.b.value,
                     lora.scale);
    }
    backward.start_dx();
    torch::Tensor stacked;
    if (!group.is_empty() && group.is_shared()) stacked = to_f32(torch::mm(d_inner.t(), saved[0]));
    variable_list result = {torch::Tensor()};
    for (size_t i = 0; i < call.layers.size(); ++i) {
      if (grads[i].defined()) backward.add_dx(*call.layers[i], grads[i]);
      backward.add_masters(*call.layers[i], grads[i], stacked, result);
    }
    result[0] = backward.dx;
    result.push_back(torch::Tensor());  // the call itself
    return result;
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
