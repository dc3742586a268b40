// Config: everything a configuration file can say, after reading, rules and defaults. One field per
// YAML key, with the key's own name; the schema (schema.h) lists key, default, range and help once
// and everything else visits that list.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "regard/modules.h"

namespace tune {

// A boolean key that also accepts `auto`.
enum class Tristate : uint8_t { no, yes, automatic };

// `lora_modules_to_save`-like lists are vectors; an absent list is empty.
struct DatasetConfig {
  std::string path;  // a .jsonl / .json file, or a folder of them
  // alpaca | completion | chat_template | input_output | "" (pretokenized rows, as Axolotl's empty
  // `type:` says)
  std::string type;
  std::string name, split;
  std::string ds_type = "json";
  std::vector<std::string> data_files;
  std::string field = "text";                                    // completion
  std::string field_messages = "messages";                       // chat_template
  std::map<std::string, std::string> message_property_mappings;  // role, content
  std::vector<std::string> roles_to_train = {"assistant"};
  std::string train_on_eos = "turn";  // all | turn | last | none
  std::string chat_template;          // overrides the file's
  int line = 0;                       // of the list entry in the user's file, for messages

  friend bool operator==(const DatasetConfig&, const DatasetConfig&) = default;
};

// A tensor that a score or mask program names.
struct FlexTensor {
  std::string from;  // "alibi" (computed), or FILE.safetensors#name
  bool trainable = false;

  friend bool operator==(const FlexTensor&, const FlexTensor&) = default;
};

struct Config {
  // model
  std::string base_model;
  std::string model_type, tokenizer_type;
  std::string tokenizer_config;  // a folder or tokenizer.json; empty = the base model's
  bool random_init_weights =
      false;  // train from scratch: base_model gives only shape and tokenizer
  bool load_in_4bit = false, load_in_8bit = false;
  std::map<std::string, std::string> special_tokens;  // pad_token, bos_token, eos_token, unk_token
  std::vector<std::string> tokens;                    // added to the vocabulary

  // attention: the booleans as written; `attention` is what they resolve to
  bool sdp_attention = false, flash_attention = false, flex_attention = false,
       sage_attention = false;
  bool xformers_attention = false, s2_attention = false, eager_attention = false;
  std::string attn_implementation;
  std::string flex_score_mod, flex_mask_mod;
  std::map<std::string, FlexTensor> flex_tensors;
  Tristate torch_compile = Tristate::no;
  regard::Module attention = regard::Module::sdpa;

  // data
  std::vector<DatasetConfig> datasets, test_datasets;
  std::string chat_template;  // chatml | llama3 | alpaca | mistral | tokenizer_default
  std::string dataset_prepared_path = "last_run_prepared";
  double val_set_size = 0.0;  // < 1: a share of the rows; >= 1: a number of rows
  int64_t sequence_len = 512;
  bool sample_packing = false, eval_sample_packing = false;
  std::optional<bool> pad_to_sequence_len;
  int64_t sample_packing_bin_size = 200, sample_packing_group_size = 100000;
  std::string excess_length_strategy = "drop";  // drop | truncate | raise
  bool train_on_inputs = false;
  bool group_by_length = false;
  bool shuffle_before_training = true;  // the key is Axolotl's: shuffle_merged_datasets

  // adapter
  std::string adapter;  // "" (full) | lora | qlora
  std::string lora_model_dir;
  int64_t lora_r = 8;
  double lora_alpha = 16.0, lora_dropout = 0.0;
  std::vector<std::string> lora_target_modules, lora_modules_to_save;
  bool lora_target_linear = false;

  // optimisation; after the rules all three batch keys agree
  int64_t micro_batch_size = 1, gradient_accumulation_steps = 1, batch_size = 1;
  double num_epochs = 1.0;
  int64_t max_steps = 0;  // 0 = by epochs
  std::string optimizer = "adamw_torch";
  double learning_rate = 0.0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;           // 0 = no clipping
  std::string lr_scheduler = "cosine";  // cosine | linear | constant | constant_with_warmup
  std::optional<int64_t> warmup_steps;
  std::optional<double> warmup_ratio;
  std::optional<double> cosine_min_lr_ratio;
  bool gradient_checkpointing = false;
  Tristate bf16 = Tristate::automatic;  // never automatic after the rules
  bool fp16 = false, tf32 = false;
  int64_t seed = 42;
  int64_t num_threads = 0;  // 0 = all cores

  // evaluation, checkpoints, logs
  std::optional<int64_t> eval_steps, save_steps;
  std::optional<double> evals_per_epoch, saves_per_epoch;
  std::string eval_strategy, save_strategy;  // "" | no | steps | epoch
  int64_t save_total_limit = 4;
  int64_t logging_steps = 1;
  bool use_tensorboard = true;
  std::string resume_from_checkpoint;
  bool auto_resume_from_checkpoints = false;
  double loss_watchdog_threshold = 0.0;  // 0 = off
  int64_t loss_watchdog_patience = 3;
  std::string output_dir = "./model-out";

  // generation while training: a prompt answered before the first and after the last step
  // (optional)
  std::string sample_prompt;
  int64_t sample_max_new_tokens = 64;

  std::string source_path;  // the YAML file, for messages and the model card

  friend bool operator==(const Config&, const Config&) = default;

  bool uses_bf16() const { return bf16 == Tristate::yes; }
  bool uses_adapter() const { return !adapter.empty(); }
};

}  // namespace tune
