// Small models, batches and folders for the tests of the model.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tune/files/safetensors.h"
#include "tune/model/language_model.h"

namespace tune {

using test_support::TempFolder;

// One row of the given documents; every token but a document's first is a label.
inline Batch packed_row(const std::vector<std::vector<int32_t>>& documents) {
  Batch batch;
  batch.num_rows = 1;
  batch.document_offsets = {0};
  for (const auto& document : documents) {
    for (size_t i = 0; i < document.size(); ++i) {
      batch.input_ids.push_back(document[i]);
      batch.labels.push_back(document[i]);
      batch.position_ids.push_back(static_cast<int32_t>(i));
    }
    batch.document_offsets.push_back(static_cast<int32_t>(batch.input_ids.size()));
  }
  batch.row_length = static_cast<int64_t>(batch.input_ids.size());
  return batch;
}

// `count` ids below 64 that look random and depend on `seed` only.
inline std::vector<int32_t> some_ids(int32_t count, uint32_t seed) {
  std::vector<int32_t> ids;
  uint32_t state = seed * 2654435761u + 1;
  for (int32_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>(state >> 26));
  }
  return ids;
}

inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 256;
  config.initializer_range = 0.25;
  return config;
}

inline ModelOptions lora_options() {
  ModelOptions options;
  options.adapter = AdapterKind::lora;
  options.lora_r = 4;
  options.lora_alpha = 8.0;
  options.lora_target_linear = true;
  return options;
}

// B starts at zero, which would hide errors of A's gradient: gives it values.
inline void wake_adapter(LanguageModel& model) {
  for (TrainableParameter& parameter : model.trainable_parameters()) {
    if (parameter.name.find("lora_B") == std::string::npos) continue;
    torch::Tensor values = parameter.tensor.detach();
    values.copy_(torch::arange(values.numel(), torch::kFloat32).sin().mul(0.2).view_as(values));
  }
  model.parameters_changed();
}

// Gradients of the loss by every trainable parameter, fresh.
inline std::vector<torch::Tensor> gradients(LanguageModel& model, const Batch& batch) {
  auto parameters = model.trainable_parameters();
  for (auto& parameter : parameters) parameter.tensor.mutable_grad() = torch::Tensor();
  model.loss_sum(batch).backward();
  std::vector<torch::Tensor> result;
  for (auto& parameter : parameters) result.push_back(parameter.tensor.grad().clone());
  return result;
}

inline double relative_error(const torch::Tensor& found, const torch::Tensor& expected) {
  const double scale = expected.norm().item<double>();
  return (found - expected).norm().item<double>() / std::max(scale, 1e-30);
}
inline double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace tune
