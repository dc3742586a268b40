#include "tune/config/resolve.h"

namespace tune {
namespace {

using regard::Module;

Module resolve_attention(const Facts& facts) {
  if (facts.read.config.s2_attention) return Module::s2;
  // flash_attention: true stays flash_attention_2 on Hopper too: the Hopper schedule is the back
  // end's choice (rule 13), not another module.
  return facts.choices.empty() ? Module::sdpa : facts.choices.front().module;
}

// Two of the three batch keys give the third. A quotient that is not whole stays at 1; rule 24
// refuses it.
void resolve_batch(const Facts& facts, Config& config) {
  const bool has_micro = facts.given("micro_batch_size");
  const bool has_steps = facts.given("gradient_accumulation_steps");
  const bool has_batch = facts.given("batch_size");
  if (has_batch && has_micro && !has_steps && config.batch_size % config.micro_batch_size == 0) {
    config.gradient_accumulation_steps = config.batch_size / config.micro_batch_size;
  } else if (has_batch && has_steps && !has_micro &&
             config.batch_size % config.gradient_accumulation_steps == 0) {
    config.micro_batch_size = config.batch_size / config.gradient_accumulation_steps;
  }
  config.batch_size = config.micro_batch_size * config.gradient_accumulation_steps;
}

bool has_evaluation_set(const Config& config) {
  return config.val_set_size > 0.0 || !config.test_datasets.empty();
}

}  // namespace

bool resolves_bf16(const Facts& facts) {
  return !facts.read.config.fp16 && facts.machine().has_bf16_matrix();
}

bool sets_pad_to_sequence_len(const Facts& facts) {
  return facts.read.config.sample_packing && !facts.given("pad_to_sequence_len");
}

bool sets_eval_sample_packing(const Facts& facts) {
  return facts.read.config.sample_packing && has_evaluation_set(facts.read.config) &&
         !facts.given("eval_sample_packing");
}

bool trains_in_fp32(const Facts& facts) { return !facts.config.uses_bf16() && !facts.config.fp16; }

regard::ModelNeeds model_needs(const Facts& facts, Module module) {
  regard::ModelNeeds needs;
  needs.head_dim = facts.model->head_dim;
  needs.training = facts.options.purpose == Purpose::train;
  if (facts.config.uses_bf16()) needs.dtype = regard::DType::bf16;
  if (facts.config.fp16) needs.dtype = regard::DType::f16;
  const bool casts = module == Module::flash_attention_2 || module == Module::flash_attention_3 ||
                     module == Module::sage || module == Module::s2;
  // Rule 19: on a GPU these kernels are given bf16 whatever the model is trained in.
  if (facts.is_gpu() && casts && trains_in_fp32(facts)) needs.dtype = regard::DType::bf16;
  return needs;
}

void resolve_defaults(Facts& facts) {
  Config& config = facts.config;
  config.attention = resolve_attention(facts);
  if (config.bf16 == Tristate::automatic) {
    config.bf16 = resolves_bf16(facts) ? Tristate::yes : Tristate::no;
  }
  if (sets_pad_to_sequence_len(facts)) config.pad_to_sequence_len = true;
  if (sets_eval_sample_packing(facts)) config.eval_sample_packing = true;
  resolve_batch(facts, config);
}

}  // namespace tune
