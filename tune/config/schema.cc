#include "tune/config/schema.h"

#include <algorithm>

#include "tune/config/scalar.h"

namespace tune {
namespace {

constexpr Range kPositive{.min = 0.0, .excludes_min = true};
constexpr Range kNotNegative{.min = 0.0};
constexpr Range kFromOne{.min = 1.0, .max = 1e9};
constexpr Range kShare{.min = 0.0, .max = 1.0};
constexpr Range kShareBelowOne{.min = 0.0, .max = 1.0, .excludes_max = true};
// The product of two batch keys stays far inside int64.
constexpr Range kBatch{.min = 1.0, .max = 1e6};

const std::vector<std::string_view> kChatTemplates = {"chatml", "llama3", "alpaca", "mistral",
                                                      "tokenizer_default"};
const std::vector<std::string_view> kStrategies = {"no", "steps", "epoch"};

void visit_model(FieldVisitor& v, Config& c) {
  v.section("Model");
  v.field("base_model", &c.base_model,
          {.help = "Folder with config.json and safetensors, a .gguf file (paths are relative to "
                   "the current directory), or a Hub name found in the local Hugging Face cache.",
           .required_for = "every command"});
  v.field("model_type", &c.model_type,
          {.help = "Accepted for Axolotl's files; the architecture is read from the model."});
  v.field("tokenizer_type", &c.tokenizer_type,
          {.help = "Accepted for Axolotl's files; the tokenizer is read from its own file."});
  v.field("tokenizer_config", &c.tokenizer_config,
          {.help = "A folder or a tokenizer.json to use instead of the base model's tokenizer."});
  v.field("random_init_weights", &c.random_init_weights,
          {.help = "Train from scratch: the base model gives its shape and tokenizer only."});
  v.field("load_in_4bit", &c.load_in_4bit,
          {.help = "Hold the frozen weights as 4-bit NF4 with double quantisation (QLoRA)."});
  v.field("load_in_8bit", &c.load_in_8bit, {.help = "Hold the frozen weights in 8 bits."});
  v.field("special_tokens", &c.special_tokens,
          {.help = "Replaces the tokenizer's special tokens.",
           .map_keys = {"bos_token", "eos_token", "pad_token", "unk_token"}});
  v.field("tokens", &c.tokens, {.help = "Words added to the vocabulary."});
}

void visit_attention(FieldVisitor& v, Config& c) {
  v.section("Attention");
  v.field("sdp_attention", &c.sdp_attention,
          {.help = "Scaled dot product attention, the default."});
  v.field("flash_attention", &c.flash_attention,
          {.help = "Exact tiled attention without the S x S scores."});
  v.field("flex_attention", &c.flex_attention,
          {.help = "Attention with score and mask programs of your own."});
  v.field("sage_attention", &c.sage_attention, {.help = "INT8 scores, 16-bit values."});
  v.field("xformers_attention", &c.xformers_attention,
          {.help = "Memory-efficient attention; the choice for Turing GPUs and older."});
  v.field("s2_attention", &c.s2_attention,
          {.help = "Shifted sparse attention; write flash_attention: true beside it."});
  v.field("eager_attention", &c.eager_attention,
          {.help = "Materialised scores; slow, the yardstick of the others."});
  v.field("attn_implementation", &c.attn_implementation,
          {.help = "The newer spelling of the same choice: sdpa, flash_attention_2, "
                   "flash_attention_3, flex_attention, sage, xformers, s2 or eager.",
           .is_checked_by_rule_3 = true});
  v.field("flex_score_mod", &c.flex_score_mod,
          {.help = "Score program of flex_attention, such as \"score + slopes[h] * (kv - q)\"."});
  v.field("flex_mask_mod", &c.flex_mask_mod,
          {.help = "Mask program of flex_attention; without one it is \"q >= kv\"."});
  v.field("flex_tensors", &c.flex_tensors,
          {.help = "Tensors that the programs name: alibi, FILE.safetensors#name, or {from: ..., "
                   "trainable: true}."});
  v.field("torch_compile", &c.torch_compile,
          {.help = "Fuses the programs of flex_attention into the kernel; auto counts as true."});
}

void visit_data(FieldVisitor& v, Config& c) {
  v.section("Data");
  v.field("datasets", &c.datasets,
          {.help = "List of data sets; the keys of an entry stand below.",
           .required_for = "train, preprocess and evaluate"});
  v.field("test_datasets", &c.test_datasets,
          {.help = "Evaluation data of its own, instead of val_set_size."});
  v.field("chat_template", &c.chat_template,
          {.help = "Named template for chat data; tokenizer_default is the model's own.",
           .choices = kChatTemplates});
  v.field("dataset_prepared_path", &c.dataset_prepared_path,
          {.help = "Folder of the prepared cache, relative to the current directory."});
  v.field("val_set_size", &c.val_set_size,
          {.help = "Evaluation split: below 1 a share of the rows, else a number of rows.",
           .range = {.min = 0.0, .max = 1e9}});
  v.field("sequence_len", &c.sequence_len,
          {.help = "Most tokens of one row, or of one packed bin.",
           .range = {.min = 2.0, .max = 16777216.0}});
  v.field("sample_packing", &c.sample_packing,
          {.help = "Several documents in one row; they never see each other."});
  v.field("eval_sample_packing", &c.eval_sample_packing,
          {.help = "The same for evaluation; follows sample_packing unless set."});
  v.field("pad_to_sequence_len", &c.pad_to_sequence_len,
          {.help = "Pad every row to sequence_len; true with sample_packing unless set."});
  v.field("sample_packing_bin_size", &c.sample_packing_bin_size,
          {.help = "Most documents in one packed row.", .range = kFromOne});
  v.field("sample_packing_group_size", &c.sample_packing_group_size,
          {.help = "Documents that are packed together.", .range = kFromOne});
  v.field("excess_length_strategy", &c.excess_length_strategy,
          {.help = "What happens to rows longer than sequence_len.",
           .choices = {"drop", "truncate", "raise"}});
  v.field("train_on_inputs", &c.train_on_inputs, {.help = "Train on the prompt's tokens too."});
  v.field("group_by_length", &c.group_by_length,
          {.help = "Put rows of similar length into one batch."});
  v.field("shuffle_merged_datasets", &c.shuffle_before_training,
          {.help = "Shuffle the rows of all data sets before training."});
}

void visit_adapter(FieldVisitor& v, Config& c) {
  v.section("Adapter");
  v.field("adapter", &c.adapter,
          {.help = "Train a LoRA adapter; without it every weight is trained.",
           .choices = {"lora", "qlora"}});
  v.field("lora_model_dir", &c.lora_model_dir, {.help = "Continue or load this adapter."});
  v.field("lora_r", &c.lora_r, {.help = "Rank.", .range = {.min = 1.0, .max = 65536.0}});
  v.field("lora_alpha", &c.lora_alpha,
          {.help = "The adapter's output is scaled by lora_alpha / lora_r.", .range = kPositive});
  v.field("lora_dropout", &c.lora_dropout,
          {.help = "Dropout before the adapter.", .range = kShareBelowOne});
  v.field("lora_target_modules", &c.lora_target_modules,
          {.help = "Linear layers that get an adapter, such as [q_proj, v_proj]."});
  v.field("lora_target_linear", &c.lora_target_linear,
          {.help = "All linear layers except lm_head get an adapter."});
  v.field("lora_modules_to_save", &c.lora_modules_to_save,
          {.help = "Modules trained in full beside the adapter, such as [embed_tokens]."});
}

void visit_optimisation(FieldVisitor& v, Config& c) {
  v.section("Optimisation");
  v.field("micro_batch_size", &c.micro_batch_size,
          {.help = "Rows of one forward pass. Two of the three batch keys are required to train.",
           .range = kBatch});
  v.field("gradient_accumulation_steps", &c.gradient_accumulation_steps,
          {.help = "Forward passes of one optimizer step.", .range = kBatch});
  v.field("batch_size", &c.batch_size,
          {.help = "micro_batch_size * gradient_accumulation_steps.",
           .range = {.min = 1.0, .max = 1e12}});
  v.field(
      "num_epochs", &c.num_epochs,
      {.help = "Passes over the data.", .range = {.min = 0.0, .max = 1e6, .excludes_min = true}});
  v.field("max_steps", &c.max_steps,
          {.help = "Stop after so many optimizer steps; 0 = by num_epochs.",
           .range = {.min = 0.0, .max = 1e12}});
  v.field("optimizer", &c.optimizer,
          {.help = "AdamW; both names are the same mathematics here.",
           .choices = {"adamw_torch", "adamw_torch_fused"}});
  v.field("learning_rate", &c.learning_rate,
          {.help = "Peak learning rate.",
           .range = {.min = 0.0, .max = 10.0, .excludes_min = true},
           .required_for = "train"});
  v.field("adam_beta1", &c.adam_beta1,
          {.help = "Decay of AdamW's first moment.", .range = kShareBelowOne});
  v.field("adam_beta2", &c.adam_beta2,
          {.help = "Decay of AdamW's second moment.", .range = kShareBelowOne});
  v.field("adam_epsilon", &c.adam_epsilon,
          {.help = "Added to the root of the second moment.", .range = kPositive});
  v.field("weight_decay", &c.weight_decay,
          {.help = "Decoupled weight decay.", .range = kNotNegative});
  v.field("max_grad_norm", &c.max_grad_norm,
          {.help = "Clip the gradient's norm to this; 0 = no clipping.", .range = kNotNegative});
}

void visit_schedule_and_precision(FieldVisitor& v, Config& c) {
  v.field("lr_scheduler", &c.lr_scheduler,
          {.help = "Course of the learning rate after the warm-up.",
           .choices = {"cosine", "linear", "constant", "constant_with_warmup"}});
  v.field("warmup_steps", &c.warmup_steps,
          {.help = "Steps of linear warm-up; not together with warmup_ratio.",
           .range = {.min = 0.0, .max = 1e12}});
  v.field("warmup_ratio", &c.warmup_ratio,
          {.help = "Warm-up as a share of all steps.", .range = kShare});
  v.field("cosine_min_lr_ratio", &c.cosine_min_lr_ratio,
          {.help = "The cosine ends at this share of learning_rate.", .range = kShare});
  v.field("gradient_checkpointing", &c.gradient_checkpointing,
          {.help = "Compute layers again in the backward pass to save memory."});
  v.field("bf16", &c.bf16,
          {.help = "Train in bfloat16; auto = where matrix hardware has it and fp16 is not true."});
  v.field("fp16", &c.fp16, {.help = "Train in float16."});
  v.field("tf32", &c.tf32, {.help = "Allow TF32 matrix products on GPUs that have them."});
  v.field("seed", &c.seed,
          {.help = "Of initialisation, order and dropout.",
           .range = {.min = 0.0, .max = 9007199254740992.0}});
  v.field("num_threads", &c.num_threads,
          {.help = "CPU threads; 0 = all cores.", .range = {.min = 0.0, .max = 4096.0}});
}

void visit_evaluation(FieldVisitor& v, Config& c) {
  v.section("Evaluation, checkpoints and logs");
  v.field("eval_steps", &c.eval_steps,
          {.help = "Evaluate after so many steps; not together with evals_per_epoch.",
           .range = kFromOne});
  v.field("evals_per_epoch", &c.evals_per_epoch,
          {.help = "Evaluations in one epoch.", .range = kPositive});
  v.field("eval_strategy", &c.eval_strategy, {.help = "When to evaluate.", .choices = kStrategies});
  v.field("save_steps", &c.save_steps,
          {.help = "Checkpoint after so many steps; not together with saves_per_epoch.",
           .range = kFromOne});
  v.field("saves_per_epoch", &c.saves_per_epoch,
          {.help = "Checkpoints in one epoch.", .range = kPositive});
  v.field("save_strategy", &c.save_strategy,
          {.help = "When to write checkpoints.", .choices = kStrategies});
  v.field("save_total_limit", &c.save_total_limit,
          {.help = "Keep so many checkpoints.", .range = kFromOne});
  v.field("logging_steps", &c.logging_steps,
          {.help = "Log after so many steps.", .range = kFromOne});
  v.field("use_tensorboard", &c.use_tensorboard,
          {.help = "Write TensorBoard event files below output_dir/runs."});
  v.field(
      "resume_from_checkpoint", &c.resume_from_checkpoint,
      {.help = "Continue from this checkpoint folder, true = from the newest in output_dir, auto = "
               "true if there is one, else from the beginning.",
       .takes_boolean = true});
  v.field("auto_resume_from_checkpoints", &c.auto_resume_from_checkpoints,
          {.help = "Continue from the newest checkpoint in output_dir, if there is one."});
  v.field("loss_watchdog_threshold", &c.loss_watchdog_threshold,
          {.help = "Stop when the loss stays above this; 0 = off.", .range = kNotNegative});
  v.field("loss_watchdog_patience", &c.loss_watchdog_patience,
          {.help = "Logged losses above the threshold before the run stops.", .range = kFromOne});
  v.field("output_dir", &c.output_dir,
          {.help = "Folder of all results, relative to the current directory."});
  v.field("sample_prompt", &c.sample_prompt,
          {.help = "A prompt answered before the first and after the last step."});
  v.field(
      "sample_max_new_tokens", &c.sample_max_new_tokens,
      {.help = "Longest answer to sample_prompt, in tokens.", .range = {.min = 1.0, .max = 1e6}});
}

}  // namespace

void visit_keys(FieldVisitor& visitor, Config& config) {
  visit_model(visitor, config);
  visit_attention(visitor, config);
  visit_data(visitor, config);
  visit_adapter(visitor, config);
  visit_optimisation(visitor, config);
  visit_schedule_and_precision(visitor, config);
  visit_evaluation(visitor, config);
}

void visit_keys(FieldVisitor& v, DatasetConfig& d) {
  v.section("An entry of datasets or test_datasets");
  v.field("path", &d.path,
          {.help = "A .jsonl or .json file, or a folder of them, relative to the current "
                   "directory, else to the file's.",
           .required_for = "every entry"});
  v.field("type", &d.type,
          {.help = "Format of the rows; empty = pretokenized rows (input_ids, labels).",
           .choices = {"alpaca", "completion", "chat_template", "input_output", ""},
           .is_read_from_empty_text = true});
  v.field("name", &d.name, {.help = "A name for messages."});
  v.field("split", &d.split, {.help = "Accepted for Axolotl's files; files have one split."});
  v.field("ds_type", &d.ds_type, {.help = "Kind of the files.", .choices = {"json"}});
  v.field("data_files", &d.data_files, {.help = "Files below path to read; all when absent."});
  v.field("field", &d.field, {.help = "Column of completion data."});
  v.field("field_messages", &d.field_messages, {.help = "Column of chat data."});
  v.field(
      "message_property_mappings", &d.message_property_mappings,
      {.help = "Names that the rows use for role and content.", .map_keys = {"role", "content"}});
  v.field("roles_to_train", &d.roles_to_train, {.help = "Roles whose turns are trained."});
  v.field("train_on_eos", &d.train_on_eos,
          {.help = "End-of-sequence tokens to train: every one, those of trained turns, the last "
                   "one, or none.",
           .choices = {"all", "turn", "last", "none"}});
  v.field("chat_template", &d.chat_template,
          {.help = "Overrides the file's chat_template.", .choices = kChatTemplates});
}

}  // namespace tune
