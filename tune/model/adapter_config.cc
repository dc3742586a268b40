// Reading PEFT's adapter_config.json back into options.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/model/language_model.h"

namespace tune {
namespace {

using nlohmann::json;

// Whether a key holds something that changes nothing: absent, null, false, "none", {} or [].
bool is_off(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null() || found->empty()) return true;
  return *found == json(false) || *found == json("none");
}

void refuse_variants(const json& config, const std::string& path) {
  if (config.value("peft_type", "") != "LORA") {
    throw UsageError(path + ": peft_type " + config.value("peft_type", "(none)") +
                     ": only LORA adapters can be read");
  }
  for (const char* key : {"use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "bias",
                          "fan_in_fan_out", "layers_to_transform"}) {
    if (!is_off(config, key)) {
      throw UsageError(path + ": " + key + " = " + config[key].dump() +
                       ": this kind of adapter is not supported; export a plain LoRA adapter");
    }
  }
}

std::vector<std::string> string_list(const json& config, const char* key) {
  std::vector<std::string> names;
  const auto found = config.find(key);
  if (found == config.end() || !found->is_array()) return names;
  for (const json& name : *found) names.push_back(name.get<std::string>());
  return names;
}

void read_targets(const json& config, const std::string& path, ModelOptions& options) {
  const json targets = config.value("target_modules", json());
  options.lora_target_linear = targets == json("all-linear");
  options.lora_target_modules = string_list(config, "target_modules");
  if (!options.lora_target_linear && options.lora_target_modules.empty()) {
    throw UsageError(path + ": target_modules " + targets.dump() +
                     ": must be a list of module names or \"all-linear\"");
  }
}

}  // namespace

void read_adapter_config(const std::string& folder, ModelOptions& options) {
  const std::string path = (std::filesystem::path(folder) / "adapter_config.json").string();
  try {
    const json config = json::parse(read_file(path));
    refuse_variants(config, path);
    read_targets(config, path, options);
    options.modules_to_save = string_list(config, "modules_to_save");
    options.lora_r = config.at("r").get<int64_t>();
    options.lora_alpha = config.at("lora_alpha").get<double>();
    options.lora_dropout = config.value("lora_dropout", 0.0);
    if (options.adapter == AdapterKind::none) options.adapter = AdapterKind::lora;
  } catch (const json::exception& problem) {
    throw UsageError(path + ": " + problem.what());
  }
}

}  // namespace tune
