#include "tune/train/run_identity.h"

#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "regard/attention.h"
#include "regard/modules.h"
#include "tune/error.h"
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

void add_adapter_keys(json& keys, const Config& config) {
  keys["adapter"] = config.adapter;
  keys["load_in_4bit"] = config.load_in_4bit;
  if (!config.uses_adapter()) return;
  // A full model's weights are all in the checkpoint; an adapter means nothing without its base.
  keys["base_model"] = config.base_model;
  keys["lora_r"] = config.lora_r;
  keys["lora_alpha"] = config.lora_alpha;
  keys["lora_dropout"] = config.lora_dropout;
  keys["lora_target_modules"] = config.lora_target_modules;
  keys["lora_target_linear"] = config.lora_target_linear;
  keys["lora_modules_to_save"] = config.lora_modules_to_save;
}

void add_optimizer_keys(json& keys, const Config& config) {
  keys["optimizer"] = config.optimizer;
  keys["learning_rate"] = config.learning_rate;
  keys["lr_scheduler"] = config.lr_scheduler;
  keys["adam_beta1"] = config.adam_beta1;
  keys["adam_beta2"] = config.adam_beta2;
  keys["adam_epsilon"] = config.adam_epsilon;
  keys["weight_decay"] = config.weight_decay;
  keys["max_grad_norm"] = config.max_grad_norm;
  keys["bf16"] = config.uses_bf16();
  keys["fp16"] = config.fp16;
  keys["seed"] = config.seed;
  keys["num_epochs"] = config.num_epochs;
  keys["max_steps"] = config.max_steps;
  if (config.warmup_steps) keys["warmup_steps"] = *config.warmup_steps;
  if (config.warmup_ratio) keys["warmup_ratio"] = *config.warmup_ratio;
  if (config.cosine_min_lr_ratio) keys["cosine_min_lr_ratio"] = *config.cosine_min_lr_ratio;
}

void add_batch_keys(json& keys, const Config& config) {
  keys["sequence_len"] = config.sequence_len;
  keys["micro_batch_size"] = config.micro_batch_size;
  keys["gradient_accumulation_steps"] = config.gradient_accumulation_steps;
  keys["sample_packing"] = config.sample_packing;
  keys["sample_packing_bin_size"] = config.sample_packing_bin_size;
  keys["sample_packing_group_size"] = config.sample_packing_group_size;
  keys["group_by_length"] = config.group_by_length;
  keys["shuffle_before_training"] = config.shuffle_before_training;
}

std::string value_text(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "unset" : found->second;
}

}  // namespace

std::map<std::string, std::string> run_identity(const Config& config, const LanguageModel& model,
                                                const Tokenizer& tokenizer,
                                                const std::vector<Sample>& samples) {
  json keys = json::object();
  add_adapter_keys(keys, config);
  add_optimizer_keys(keys, config);
  add_batch_keys(keys, config);
  keys["attention"] = regard::module_info(config.attention).name;
  // What runs, not what was asked for: 0 means all cores, and a resumed run may have others.
  keys["num_threads"] = regard::num_threads();
  keys["gradient_checkpointing"] = config.gradient_checkpointing;
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
