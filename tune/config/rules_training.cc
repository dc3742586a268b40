// Rules 20, 23, 24, 29 and 31 to 33: what training needs beside the attention module.
#include <array>
#include <string>

#include "tune/config/resolve.h"
#include "tune/config/rules.h"
#include "tune/config/scalar.h"

namespace tune {
namespace {

constexpr std::array<const char*, 3> kBatchKeys = {"micro_batch_size",
                                                   "gradient_accumulation_steps", "batch_size"};

// Fewer than two of the three batch keys, or three that contradict each other.
void check_batch(const Facts& facts, Report& report) {
  std::string given, missing;
  for (const char* key : kBatchKeys) {
    if (!facts.readable(key)) return;  // rule 28 has spoken
    std::string& list = facts.given(key) ? given : missing;
    if (list.empty()) list = key;
  }
  int num_given = 0;
  for (const char* key : kBatchKeys) num_given += facts.given(key) ? 1 : 0;
  const Config& config = facts.read.config;
  if (num_given < 2) {
    const std::string& key = num_given == 0 ? missing : given;
    report.error(key, facts.mark(key),
                 "at least two of micro_batch_size, gradient_accumulation_steps and batch_size "
                 "must be given; write micro_batch_size: 1 and gradient_accumulation_steps: 4, for "
                 "example");
    return;
  }
  if (!facts.given("batch_size") || config.batch_size == facts.config.batch_size) return;
  std::string product = std::to_string(config.micro_batch_size) + " * " +
                        std::to_string(config.gradient_accumulation_steps);
  if (num_given == 2) {
    const bool has_micro = facts.given("micro_batch_size");
    product = has_micro
                  ? "a multiple of micro_batch_size " + std::to_string(config.micro_batch_size)
                  : "a multiple of gradient_accumulation_steps " +
                        std::to_string(config.gradient_accumulation_steps);
  }
  report.error("batch_size", facts.mark("batch_size"),
               "batch_size " + std::to_string(config.batch_size) +
                   " does not agree: it is micro_batch_size * gradient_accumulation_steps, here " +
                   product + "; remove one of the three, or make them agree");
}

// Two keys that say the same thing in two units; reported at the later one.
void check_pair(const Facts& facts, const std::string& first, const std::string& second,
                Report& report) {
  if (!facts.given(first) || !facts.given(second)) return;
  const bool second_is_later = facts.mark(second).line >= facts.mark(first).line;
  const std::string& key = second_is_later ? second : first;
  report.error(key, facts.mark(key),
               first + " and " + second + " are both given: keep one of them");
}

bool needs_data(Purpose purpose) {
  return purpose == Purpose::train || purpose == Purpose::preprocess ||
         purpose == Purpose::evaluate;
}

}  // namespace

namespace rules {

void packing_sets(const Facts& facts, Report& report) {
  if (sets_pad_to_sequence_len(facts)) {
    report.set("pad_to_sequence_len", facts.mark("pad_to_sequence_len"),
               "sample_packing sets pad_to_sequence_len: true; documents of a packed row never see "
               "each other");
  }
  if (sets_eval_sample_packing(facts)) {
    report.set("eval_sample_packing", facts.mark("eval_sample_packing"),
               "sample_packing sets eval_sample_packing: true for the evaluation set; documents of "
               "a packed row never see each other");
  }
}

void quantised_weights(const Facts& facts, Report& report) {
  const Config& config = facts.read.config;
  if (!facts.readable("adapter")) return;
  const auto needs_adapter = [&](const char* key, bool is_on, const char* adapter) {
    if (!is_on || config.uses_adapter()) return;
    report.error(key, facts.mark(key),
                 std::string(key) +
                     ": true without an adapter: quantised weights are frozen; write "
                     "adapter: " +
                     adapter + ", or remove " + key);
  };
  needs_adapter("load_in_4bit", config.load_in_4bit, "qlora");
  needs_adapter("load_in_8bit", config.load_in_8bit, "lora");
  if (config.adapter == "qlora" && !config.load_in_4bit && facts.readable("load_in_4bit")) {
    report.error(
        "adapter", facts.mark("adapter"),
        "adapter: qlora without 4-bit weights: write load_in_4bit: true, or adapter: lora");
  }
  if (config.load_in_4bit && config.load_in_8bit) {
    report.error("load_in_8bit", facts.mark("load_in_8bit"),
                 "load_in_4bit and load_in_8bit are both true: keep one of them");
  }
}

void key_pairs(const Facts& facts, Report& report) {
  if (facts.options.purpose == Purpose::train) {
    check_batch(facts, report);
    check_pair(facts, "warmup_steps", "warmup_ratio", report);
    check_pair(facts, "save_steps", "saves_per_epoch", report);
    check_pair(facts, "eval_steps", "evals_per_epoch", report);
  }
  // val_set_size: 0 means that no rows are split off, so it contradicts nothing; nor does an empty
  // list.
  const Config& config = facts.read.config;
  if (config.val_set_size > 0.0 && !config.test_datasets.empty()) {
    check_pair(facts, "val_set_size", "test_datasets", report);
  }
}

void longer_than_model(const Facts& facts, Report& report) {
  if (!facts.model || !facts.readable("sequence_len")) return;
  const int64_t limit = facts.model->max_position_embeddings;
  const int64_t length = facts.config.sequence_len;
  if (limit <= 0 || length <= limit) return;
  report.warning("sequence_len", facts.mark("sequence_len"),
                 "sequence_len " + std::to_string(length) + " is beyond the " +
                     std::to_string(limit) +
                     " positions the model was trained for: write at most " +
                     std::to_string(limit) + ", or expect worse answers there");
}

void required_keys(const Facts& facts, Report& report) {
  const Config& config = facts.read.config;
  const auto missing = [&](const char* key, const char* remedy) {
    report.error(key, facts.mark(key), std::string(key) + " is missing: write " + remedy);
  };
  if (facts.readable("base_model") && config.base_model.empty()) {
    missing("base_model", "base_model: FOLDER, FILE.gguf or a Hub name in the local cache");
  }
  if (needs_data(facts.options.purpose) && facts.readable("datasets") && config.datasets.empty()) {
    missing("datasets", "a list, such as datasets: [{path: data.jsonl, type: alpaca}]");
  }
  if (facts.options.purpose == Purpose::train && !facts.given("learning_rate")) {
    missing("learning_rate", "learning_rate: 2e-4 for LoRA, or 2e-5 for full fine-tuning");
  }
}

void model_found(const Facts& facts, Report& report) {
  if (facts.model_fault.empty()) return;
  std::string message = facts.model_fault;
  // A model that was not found says itself what to do: download it, or correct the path.
  if (!facts.is_model_missing && message.find("qwen3") == std::string::npos) {
    message += "; Regard reads the architectures llama, mistral, qwen2 and qwen3";
  }
  report.error("base_model", facts.mark("base_model"), message);
}

void data_found(const Facts& facts, Report& report) {
  for (const MissingData& missing : facts.missing_data) {
    report.error(missing.key, missing.mark,
                 missing.key + ": no file or folder " + missing.path +
                     ", neither from the current directory nor beside the configuration: write "
                     "where the .jsonl or .json file is (a data set of a hub is downloaded first)");
  }
  for (const MissingData& missing : facts.missing_tensors) {
    report.error(missing.key, missing.mark,
                 missing.key + ": no file " + missing.path +
                     " from the current directory: write where the .safetensors file is, or alibi");
  }
}

}  // namespace rules
}  // namespace tune
