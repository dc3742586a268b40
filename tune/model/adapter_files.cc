#include "tune/model/adapter_files.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/safetensors.h"
#include "tune/model/lora.h"

namespace tune {
namespace {

using nlohmann::json;
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr const char* kConfigFile = "adapter_config.json";
const std::string kPrefix = "base_model.model.";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The tensors of the file by name. A tied matrix that is trained stands there under both its names:
// PEFT then gives embedding and output layer the same new values.
std::map<std::string, Parameter*> adapter_tensors(Decoder& decoder, const ModelOptions& options) {
  std::map<std::string, Parameter*> tensors;
  decoder.for_each_linear([&](Linear& layer) {
    if (!layer.lora.defined()) return;
    tensors[layer.lora.a.name] = &layer.lora.a;
    tensors[layer.lora.b.name] = &layer.lora.b;
  });
  decoder.for_each_parameter([&](Parameter& parameter, Linear*) {
    if (!is_saved_module(decoder, options, parameter)) return;
    tensors[kPrefix + parameter.name] = &parameter;
    if (&parameter == &decoder.embedding && decoder.lm_head.name.empty()) {
      tensors[kPrefix + "lm_head.weight"] = &parameter;
    }
  });
  return tensors;
}

std::vector<std::string> target_names(Decoder& decoder, const ModelOptions& options) {
  std::set<std::string> names;
  if (!options.lora_target_linear) {
    names.insert(options.lora_target_modules.begin(), options.lora_target_modules.end());
  } else {
    decoder.for_each_linear(
        [&](Linear& layer) { names.insert(layer.path.substr(layer.path.rfind('.') + 1)); });
  }
  return {names.begin(), names.end()};
}

json saved_module_names(const Decoder& decoder, const ModelOptions& options) {
  std::set<std::string> names(options.modules_to_save.begin(), options.modules_to_save.end());
  const bool is_tied = decoder.lm_head.name.empty();
  if (is_tied && is_saved_module(decoder, options, decoder.embedding)) {
    names.insert({"embed_tokens", "lm_head"});
  }
  return names.empty() ? json() : json(names);
}

json adapter_config(Decoder& decoder, const ModelOptions& options,
                    const std::string& base_model_name) {
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base_model_name},
          {"r", options.lora_r},
          {"lora_alpha", options.lora_alpha},
          {"lora_dropout", options.lora_dropout},
          {"target_modules", target_names(decoder, options)},
          {"modules_to_save", saved_module_names(decoder, options)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"use_rslora", false},
          {"use_dora", false},
          {"rank_pattern", json::object()},
          {"alpha_pattern", json::object()},
          {"layers_to_transform", nullptr},
          {"layers_pattern", nullptr},
          {"revision", nullptr}};
}

void read_into(const TensorFile& file, const std::string& name, Parameter& parameter) {
  const StoredTensor* stored = file.find(name);
  if (stored == nullptr) throw Error(file.path() + ": tensor '" + name + "' is missing");
  if (stored->shape != parameter.shape) {
    throw Error(file.path() + ": tensor '" + name + "' is " + shape_text(stored->shape) +
                ", the model needs " + shape_text(parameter.shape));
  }
  const torch::Tensor values = torch::empty(parameter.shape, torch::kFloat32);
  dequantize(*stored, 0, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  parameter.master.detach().copy_(values);
  parameter.refresh();
}

}  // namespace

void save_adapter_files(Decoder& decoder, const ModelOptions& options, const std::string& folder,
                        const std::string& base_model_name) {
  if (options.adapter == AdapterKind::none) {
    throw Error("save_adapter: the model was trained in full and has no adapter");
  }
  std::filesystem::create_directories(folder);
  std::vector<torch::Tensor> masters;  // keeps the bytes alive until they are written
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, parameter] : adapter_tensors(decoder, options)) {
    masters.push_back(parameter->master.detach().to(torch::kCPU));
    const torch::Tensor& master = masters.back();
    tensors.push_back({name,
                       StoredType::f32,
                       parameter->shape,
                       {static_cast<const std::byte*>(master.data_ptr()), master.nbytes()}});
  }
  const auto path = std::filesystem::path(folder);
  write_safetensors((path / kWeightsFile).string(), tensors);
  write_file_atomically((path / kConfigFile).string(),
                        adapter_config(decoder, options, base_model_name).dump(2) + "\n");
}

void load_adapter_files(Decoder& decoder, const ModelOptions& options, const std::string& folder) {
  if (options.adapter == AdapterKind::none) {
    throw Error("load_adapter: the model was opened without adapter: lora");
  }
  const auto file = open_safetensors((std::filesystem::path(folder) / kWeightsFile).string());
  const auto expected = adapter_tensors(decoder, options);
  for (const std::string& name : file->names()) {
    if (expected.count(name) == 0) {
      throw Error(file->path() + ": tensor '" + name +
                  "' belongs to no adapted layer; do lora_target_modules and "
                  "lora_modules_to_save match the adapter's adapter_config.json?");
    }
  }
  for (const auto& [name, parameter] : expected) read_into(*file, name, *parameter);
}

}  // namespace tune
