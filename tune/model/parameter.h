// Parameter: one weight of the model, with its f32 master where it is trained.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace tune {

struct Parameter {
  std::string name;  // Hugging Face's, or PEFT's for an adapter's; empty: the model has none
  std::vector<int64_t> shape;
  torch::Tensor value;   // what the forward reads: compute dtype for matrices, f32 for norms
  torch::Tensor master;  // f32 leaf that requires a gradient; undefined when frozen

  bool is_trained() const { return master.defined(); }
  int64_t num_elements() const {
    int64_t count = name.empty() ? 0 : 1;
    for (const int64_t extent : shape) count *= extent;
    return count;
  }

  // Takes an f32 tensor as frozen weight in `dtype`, on the device where it lies.
  void freeze(const torch::Tensor& weight, torch::Dtype dtype) { value = weight.to(dtype); }
  // Takes an f32 tensor as master. In f32 the value is the master's memory, so that nothing has to
  // be refreshed.
  void train(const torch::Tensor& weight, torch::Dtype dtype) {
    value = weight.to(dtype);
    master = weight;
    master.requires_grad_(true);
    value = value.detach();
  }
  // After the optimizer: the value follows the master.
  void refresh() {
    if (is_trained() && value.scalar_type() != torch::kFloat32) value.copy_(master.detach());
  }
  // f32, whatever the storage, on the parameter's device; a copy unless it is f32 already.
  torch::Tensor as_f32() const {
    return is_trained() ? master.detach() : value.to(torch::kFloat32);
  }
};

}  // namespace tune
