#include "tune/config/facts.h"

#include <exception>
#include <filesystem>
#include <utility>

#include "tune/config/resolve.h"
#include "tune/files/model_source.h"

namespace tune {
namespace {

using regard::Module;

struct BooleanKey {
  std::string_view key;
  bool Config::*field;
  Module module;
};
// Row 1 of the table: the booleans of which a file may have one.
constexpr BooleanKey kBooleanKeys[] = {
    {"sdp_attention", &Config::sdp_attention, Module::sdpa},
    {"flash_attention", &Config::flash_attention, Module::flash_attention_2},
    {"flex_attention", &Config::flex_attention, Module::flex_attention},
    {"sage_attention", &Config::sage_attention, Module::sage},
    {"xformers_attention", &Config::xformers_attention, Module::xformers},
    {"eager_attention", &Config::eager_attention, Module::eager},
};

std::vector<ModuleChoice> gather_choices(const Facts& facts) {
  std::vector<ModuleChoice> choices;
  const Config& config = facts.read.config;
  for (const BooleanKey& entry : kBooleanKeys) {
    if (!(config.*entry.field)) continue;
    choices.push_back({entry.module, std::string(entry.key), facts.mark(entry.key), false});
  }
  if (!facts.has_bad_attn_implementation && facts.given("attn_implementation")) {
    const std::optional<Module> module = regard::find_module(config.attn_implementation);
    if (module) {
      choices.push_back({*module, "attn_implementation", facts.mark("attn_implementation"), true});
    }
  }
  return choices;
}

void read_model(Facts& facts) {
  const std::string& name = facts.read.config.base_model;
  if (!facts.readable("base_model") || name.empty()) return;
  try {
    locate_model(name);
  } catch (const std::exception& failure) {
    facts.is_model_missing = true;
    facts.model_fault = failure.what();
    return;
  }
  try {
    facts.model = read_model_config(name);
  } catch (const std::exception& failure) {
    facts.model_fault = failure.what();
  }
  if (!facts.model && facts.model_fault.empty()) facts.model_fault = "cannot be read";
}

// From the current directory, else from the file's, as the data are opened.
bool is_data_here(const Facts& facts, const std::filesystem::path& path) {
  const std::filesystem::path beside =
      std::filesystem::path(facts.read.config.source_path).parent_path();
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) || std::filesystem::exists(beside / path, ignored);
}

void look_for_data(Facts& facts, const std::string& key,
                   const std::vector<DatasetConfig>& datasets) {
  if (!facts.given(key) || !facts.readable(key)) return;  // rule 28 speaks
  const std::vector<YamlNode>& entries = facts.root.find(key)->items;
  const auto miss = [&](size_t index, const char* field, const std::string& path) {
    const YamlNode* node = entries[index].find(field);
    facts.missing_data.push_back({key + "[" + std::to_string(index) + "]." + field,
                                  node == nullptr ? entries[index].mark : node->mark, path});
  };
  for (size_t i = 0; i < datasets.size(); ++i) {
    const DatasetConfig& dataset = datasets[i];
    if (dataset.data_files.empty() && !is_data_here(facts, dataset.path))
      miss(i, "path", dataset.path);
    // `path: json` with data_files is how the datasets library spells "these files".
    const std::filesystem::path folder = dataset.path == "json" ? "" : dataset.path;
    for (const std::string& name : dataset.data_files) {
      if (!is_data_here(facts, folder / name) && !is_data_here(facts, name))
        miss(i, "data_files", name);
    }
  }
}

void look_for_tensors(Facts& facts) {
  const Purpose purpose = facts.options.purpose;
  const bool is_flex = facts.chosen(Module::flex_attention) != nullptr;
  if (!is_flex || !facts.readable("flex_tensors") || purpose == Purpose::preprocess) return;
  for (const auto& [name, tensor] : facts.read.config.flex_tensors) {
    // What was trained is read from output_dir afterwards.
    const bool is_in_output = tensor.trainable && purpose != Purpose::train;
    const size_t hash = tensor.from.rfind('#');
    if (hash == std::string::npos || is_in_output) continue;
    const std::string path = tensor.from.substr(0, hash);
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) continue;
    const YamlNode* node = facts.root.find("flex_tensors")->find(name);
    facts.missing_tensors.push_back(
        {"flex_tensors." + name, node == nullptr ? YamlMark{} : node->key_mark, path});
  }
}

// Elements of a file's tensor are known when it is read; "alibi" is a slope for each head.
std::vector<regard::TensorInfo> flex_tensor_infos(const Config& config) {
  std::vector<regard::TensorInfo> infos;
  for (const auto& [name, tensor] : config.flex_tensors) {
    const bool is_alibi = tensor.from == "alibi";
    infos.push_back({name, is_alibi ? regard::ElementType::real : regard::ElementType::unknown,
                     is_alibi ? 1 : 0});
  }
  return infos;
}

void parse_programs(Facts& facts) {
  const Config& config = facts.read.config;
  const std::vector<regard::TensorInfo> tensors = flex_tensor_infos(config);
  if (!config.flex_score_mod.empty()) {
    facts.score_program =
        regard::parse_program(config.flex_score_mod, regard::ProgramKind::score, tensors);
  }
  if (!config.flex_mask_mod.empty()) {
    facts.mask_program =
        regard::parse_program(config.flex_mask_mod, regard::ProgramKind::mask, tensors);
  }
}

}  // namespace

bool ModuleChoice::is_flash() const {
  return module == Module::flash_attention_2 || module == Module::flash_attention_3 ||
         (module == Module::s2 && by_name);
}

std::string ModuleChoice::text() const {
  return by_name ? key + ": " + std::string(regard::module_info(module).name) : key + ": true";
}

bool Facts::given(std::string_view key) const {
  const YamlNode* node = root.find(key);
  return node != nullptr && !node->is_null();
}

bool Facts::readable(std::string_view key) const {
  return read.bad_keys.count(std::string(key)) == 0;
}

YamlMark Facts::mark(std::string_view key) const {
  const YamlNode* node = root.find(key);
  return node == nullptr ? YamlMark{} : node->key_mark;
}

const ModuleChoice* Facts::chosen(Module module) const {
  for (const ModuleChoice& choice : choices) {
    if (choice.module == module) return &choice;
  }
  return nullptr;
}

const ModuleChoice* Facts::chosen_flash() const {
  for (const ModuleChoice& choice : choices) {
    if (choice.is_flash()) return &choice;
  }
  return nullptr;
}

bool Facts::uses_s2() const { return read.config.s2_attention || chosen(Module::s2) != nullptr; }

std::string Facts::s2_key() const {
  return read.config.s2_attention ? "s2_attention" : "attn_implementation";
}

Facts gather_facts(const YamlNode& root, const ReadResult& read, std::vector<ValueFault> faults,
                   const CheckOptions& options) {
  Facts facts{.root = root,
              .options = options,
              .read = read,
              .faults = std::move(faults),
              .config = read.config};
  facts.faults.insert(facts.faults.end(), read.faults.begin(), read.faults.end());
  facts.has_bad_attn_implementation =
      !attn_implementation_fault(root.find("attn_implementation")).empty();
  facts.choices = gather_choices(facts);
  read_model(facts);
  look_for_data(facts, "datasets", read.config.datasets);
  look_for_data(facts, "test_datasets", read.config.test_datasets);
  look_for_tensors(facts);
  parse_programs(facts);
  resolve_defaults(facts);
  return facts;
}

}  // namespace tune
