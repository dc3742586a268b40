#include "tune/model/lora.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tune/error.h"
#include "tune/model/random_fill.h"

namespace tune {
namespace {

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string module_path(const Parameter& parameter) {
  return parameter.name.substr(0, parameter.name.rfind('.'));
}

std::set<std::string> linear_names(Decoder& decoder) {
  std::set<std::string> names;
  decoder.for_each_linear([&](Linear& layer) { names.insert(last_part(layer.path)); });
  return names;
}

void check_targets(Decoder& decoder, const ModelOptions& options) {
  for (const std::string& target : options.lora_target_modules) {
    bool is_found = false;
    decoder.for_each_linear(
        [&](Linear& layer) { is_found = is_found || path_matches(layer.path, target); });
    if (is_found) continue;
    const bool is_saved_only = target == "lm_head" || target == "embed_tokens";
    throw UsageError("lora_target_modules: '" + target + "' " +
                     (is_saved_only ? "takes no LoRA adapter; train it in full with "
                                      "lora_modules_to_save, or choose among "
                                    : "is no linear layer of this model; it has ") +
                     joined(linear_names(decoder)));
  }
}

void check_saved_modules(Decoder& decoder, const ModelOptions& options) {
  std::set<std::string> names = {"lm_head"};
  decoder.for_each_parameter(
      [&](Parameter& parameter, Linear*) { names.insert(last_part(module_path(parameter))); });
  for (const std::string& wanted : options.modules_to_save) {
    bool is_found = wanted == "lm_head";
    decoder.for_each_parameter([&](Parameter& parameter, Linear*) {
      is_found = is_found || module_path(parameter).ends_with(wanted);
    });
    if (!is_found) {
      throw UsageError("lora_modules_to_save: '" + wanted +
                       "' is no module of this model; it has " + joined(names));
    }
  }
}

bool is_target(const Linear& layer, const ModelOptions& options) {
  if (options.lora_target_linear) return true;
  return std::any_of(options.lora_target_modules.begin(), options.lora_target_modules.end(),
                     [&](const std::string& target) { return path_matches(layer.path, target); });
}

void attach(Linear& layer, const ModelOptions& options, uint64_t stream) {
  const std::string prefix = "base_model.model." + layer.path;
  Lora& lora = layer.lora;
  lora.scale = options.lora_alpha / static_cast<double>(options.lora_r);
  lora.dropout = options.lora_dropout;
  lora.stream = stream;
  lora.a.name = prefix + ".lora_A.weight";
  lora.a.shape = {options.lora_r, layer.in};
  lora.b.name = prefix + ".lora_B.weight";
  lora.b.shape = {layer.out, options.lora_r};
  const torch::Tensor a = torch::empty(lora.a.shape, torch::kFloat32);
  fill_uniform({a.data_ptr<float>(), static_cast<size_t>(a.numel())},
               1.0 / std::sqrt(static_cast<double>(layer.in)), options.seed, lora.a.name);
  lora.a.train(a.to(options.device), options.compute_dtype);
  const auto b = torch::TensorOptions().dtype(torch::kFloat32).device(options.device);
  lora.b.train(torch::zeros(lora.b.shape, b), options.compute_dtype);
}

}  // namespace

bool path_matches(std::string_view path, std::string_view target) {
  if (path == target) return true;
  return path.size() > target.size() + 1 && path.ends_with(target) &&
         path[path.size() - target.size() - 1] == '.';
}

bool is_saved_module(const Decoder& decoder, const ModelOptions& options,
                     const Parameter& parameter) {
  const std::string path = module_path(parameter);
  const bool is_tied_matrix = &parameter == &decoder.embedding && decoder.lm_head.name.empty();
  return std::any_of(options.modules_to_save.begin(), options.modules_to_save.end(),
                     [&](const std::string& wanted) {
                       return path.ends_with(wanted) || (is_tied_matrix && wanted == "lm_head");
                     });
}

void attach_lora(Decoder& decoder, const ModelOptions& options) {
  if (options.lora_r < 1) {
    throw UsageError("lora_r: " + std::to_string(options.lora_r) + ": must be at least 1");
  }
  if (!options.lora_target_linear && options.lora_target_modules.empty()) {
    throw UsageError("LoRA needs lora_target_modules or lora_target_linear: true; this model has " +
                     joined(linear_names(decoder)));
  }
  check_targets(decoder, options);
  check_saved_modules(decoder, options);
  uint64_t stream = 0;
  decoder.for_each_linear([&](Linear& layer) {
    ++stream;  // counted over all layers: a mask does not depend on which others are adapted
    if (!is_target(layer, options)) return;
    if (layer.weight.is_trained()) {
      throw UsageError("'" + layer.path +
                       "' is a LoRA target and in lora_modules_to_save; remove " +
                       "it from one of them");
    }
    attach(layer, options, stream);
  });
}

torch::Tensor merged_weight(const Linear& layer) {
  torch::Tensor weight = layer.quantized.defined()
                             ? dequantize_nf4(layer.quantized, torch::kFloat32)
                             : layer.weight.as_f32();
  if (!layer.lora.defined()) return weight;
  return torch::addmm(weight, layer.lora.b.as_f32(), layer.lora.a.as_f32(), 1.0, layer.lora.scale);
}

}  // namespace tune
