#include "tune/train/run_identity.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <type_traits>
#include <variant>

#include "regard/attention.h"
#include "regard/modules.h"
#include "tune/config/schema.h"
#include "tune/error.h"
#include "tune/train/base_content.h"
#include "tune/train/crc32.h"

namespace tune {
namespace {

using nlohmann::json;

// A difference here changes rounding (attention, threads) or how far the run goes, not what it is.
const std::set<std::string> kMayDiffer = {"attention", "num_threads", "gradient_checkpointing",
                                          "num_epochs", "max_steps"};

std::string data_checksum(const std::vector<Sample>& samples) {
  uint32_t crc = 0;
  int64_t num_tokens = 0;
  for (const Sample& sample : samples) {
    const int64_t length = sample.length();
    num_tokens += length;
    crc = crc32(crc, std::as_bytes(std::span(&length, 1)));
    crc = crc32(crc, std::as_bytes(std::span(sample.input_ids)));
    crc = crc32(crc, std::as_bytes(std::span(sample.labels)));
  }
  return std::to_string(samples.size()) + " rows, " + std::to_string(num_tokens) +
         " tokens, checksum " + std::to_string(crc);
}

std::string model_text(const LanguageModel& model) {
  const ModelConfig& shape = model.config();
  return std::string(architecture_name(shape.architecture)) + ", " +
         std::to_string(shape.num_hidden_layers) + " layers, hidden " +
         std::to_string(shape.hidden_size) + ", vocabulary " + std::to_string(shape.vocab_size) +
         ", " + std::to_string(model.num_parameters()) + " parameters";
}

// Keys that mean the same wherever they stand, under the names the schema gives them.
const std::set<std::string_view> kAdapterKeys = {"lora_r",
                                                 "lora_alpha",
                                                 "lora_dropout",
                                                 "lora_target_modules",
                                                 "lora_target_linear",
                                                 "lora_modules_to_save"};
const std::set<std::string_view> kRunKeys = {"adapter",
                                             "load_in_4bit",
                                             "optimizer",
                                             "learning_rate",
                                             "lr_scheduler",
                                             "adam_beta1",
                                             "adam_beta2",
                                             "adam_epsilon",
                                             "weight_decay",
                                             "max_grad_norm",
                                             "fp16",
                                             "seed",
                                             "num_epochs",
                                             "max_steps",
                                             "warmup_steps",
                                             "warmup_ratio",
                                             "cosine_min_lr_ratio",
                                             "sequence_len",
                                             "micro_batch_size",
                                             "gradient_accumulation_steps",
                                             "sample_packing",
                                             "sample_packing_bin_size",
                                             "sample_packing_group_size",
                                             "group_by_length",
                                             "shuffle_merged_datasets",
                                             "gradient_checkpointing"};

// Collects the keys above with their values; an optional one that is not given is left out.
class IdentityKeys final : public FieldVisitor {
 public:
  explicit IdentityKeys(bool has_adapter) : has_adapter_(has_adapter) {}

  void field(std::string_view key, FieldRef field, const KeySpec&) override {
    if (kRunKeys.contains(key) || (has_adapter_ && kAdapterKeys.contains(key)))
      std::visit([&](const auto* value) { add(std::string(key), *value); }, field);
  }

  json keys = json::object();

 private:
  template <class T>
  void add(const std::string& key, const T& value) {
    if constexpr (std::is_constructible_v<json, const T&>) keys[key] = value;
  }
  template <class T>
  void add(const std::string& key, const std::optional<T>& value) {
    if (value) keys[key] = *value;
  }

  bool has_adapter_;
};

std::string value_text(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "unset" : found->second;
}

}  // namespace

std::map<std::string, std::string> run_identity(const Config& config, const LanguageModel& model,
                                                const Tokenizer& tokenizer,
                                                const std::vector<Sample>& samples) {
  IdentityKeys visitor(config.uses_adapter());
  Config copy = config;
  visit_keys(visitor, copy);
  json& keys = visitor.keys;
  // A full model's weights are all in the checkpoint; an adapter means nothing without its base.
  if (config.uses_adapter()) keys["base_model"] = base_model_content(config.base_model);
  keys["bf16"] = config.uses_bf16();
  keys["attention"] = regard::module_info(config.attention).name;
  // What runs, not what was asked for: 0 means all cores, and a resumed run may have others.
  keys["num_threads"] = regard::num_threads();
  keys["datasets"] = data_checksum(samples);
  keys["model"] = model_text(model);
  keys["tokenizer"] = tokenizer.fingerprint();
  std::map<std::string, std::string> identity;
  for (const auto& [key, value] : keys.items())
    identity[key] = value.is_string() ? value.get<std::string>() : value.dump();
  return identity;
}

std::vector<std::string> check_same_run(const std::map<std::string, std::string>& saved,
                                        const std::map<std::string, std::string>& now,
                                        const std::string& checkpoint_folder) {
  std::set<std::string> keys;
  for (const auto& entry : saved) keys.insert(entry.first);
  for (const auto& entry : now) keys.insert(entry.first);
  std::string refused;
  std::vector<std::string> notes;
  for (const std::string& key : keys) {
    const std::string before = value_text(saved, key), after = value_text(now, key);
    if (before == after) continue;
    const std::string difference = key + " was " + before + " and is " + after;
    if (kMayDiffer.contains(key))
      notes.push_back("resuming with another setting: " + difference +
                      "; the continuation is not bit for bit that of the first run");
    else
      refused += "\n  " + difference;
  }
  if (!refused.empty())
    throw UsageError("resume_from_checkpoint: " + checkpoint_folder +
                     " belongs to another run:" + refused +
                     "\nSet these keys back, or start afresh: another output_dir, without "
                     "resume_from_checkpoint (lora_model_dir continues from an adapter's weights)");
  return notes;
}

}  // namespace tune
