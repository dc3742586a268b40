#include "tune/train/generate.h"

#include <torch/csrc/autograd/grad_mode.h>
#include <torch/types.h>

#include <algorithm>

#include "tune/error.h"

namespace tune {
namespace {

const DatasetConfig* first_dataset(const Config& config) {
  return config.datasets.empty() ? nullptr : &config.datasets.front();
}

std::string prompt_type(const Config& config) {
  const DatasetConfig* dataset = first_dataset(config);
  return dataset == nullptr ? "chat_template" : dataset->type;
}

// The one text that a prompt without turns is made of; what it cannot hold is refused, not dropped.
const std::string& only_message(const std::vector<ChatMessage>& messages, const std::string& type) {
  if (messages.size() == 1 && messages.front().role == "user") return messages.front().content;
  throw UsageError("prompts of type " + (type.empty() ? "\"\"" : type) +
                   " have no place for a system message or earlier turns: write one prompt that "
                   "says all of it, or train with type: chat_template");
}

void add_unique(std::vector<int32_t>& ids, std::optional<int32_t> id) {
  if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
}

}  // namespace

std::vector<int32_t> generate(LanguageModel& model, std::span<const int32_t> prompt,
                              const SamplingOptions& options, const TokenCallback& on_token) {
  if (prompt.empty()) throw UsageError("the prompt is empty; write at least one character");
  torch::NoGradGuard no_grad;
  model.set_training(false, 0);
  Sampler sampler(options);
  const auto prompt_length = static_cast<int64_t>(prompt.size());
  const std::shared_ptr<KvCache> cache = model.new_cache(prompt_length + options.max_new_tokens);
  std::vector<int32_t> ids(prompt.begin(), prompt.end());
  std::span<const int32_t> fresh = prompt;
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const int32_t id = sampler.next(model.next_logits(fresh, *cache), ids);
    const auto& stops = options.stop_ids;
    if (std::find(stops.begin(), stops.end(), id) != stops.end()) break;
    ids.push_back(id);
    if (on_token && !on_token(id)) break;
    fresh = std::span<const int32_t>(ids).last(1);
  }
  return {ids.begin() + prompt_length, ids.end()};
}

std::vector<int32_t> stop_ids(const LanguageModel& model, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  add_unique(ids, tokenizer.special().eos);
  for (const int32_t id : model.config().eos_token_ids) add_unique(ids, id);
  for (const char* text : {"<|im_end|>", "<|eot_id|>", "<|eom_id|>"})
    add_unique(ids, tokenizer.token_id(text));
  return ids;
}

bool renders_conversation(const Config& config) { return prompt_type(config) == "chat_template"; }

std::vector<int32_t> prompt_ids(const Config& config, const Tokenizer& tokenizer,
                                const std::vector<ChatMessage>& messages) {
  if (renders_conversation(config)) {
    const DatasetConfig* dataset = first_dataset(config);
    std::string name = config.chat_template;
    if (dataset != nullptr && !dataset->chat_template.empty()) name = dataset->chat_template;
    return tokenizer.encode(render_chat(name, messages, tokenizer, true), false);
  }
  const std::string type = prompt_type(config);
  const std::string& text = only_message(messages, type);
  return tokenizer.encode(type == "alpaca" ? render_alpaca(text, "") : text, true);
}

std::string answer_sample_prompt(const Config& config, LanguageModel& model,
                                 const Tokenizer& tokenizer) {
  SamplingOptions options;
  options.max_new_tokens = config.sample_max_new_tokens;
  options.stop_ids = stop_ids(model, tokenizer);
  const std::vector<int32_t> prompt =
      prompt_ids(config, tokenizer, {{"user", config.sample_prompt}});
  return tokenizer.decode(generate(model, prompt, options), /*skip_special_tokens=*/true);
}

}  // namespace tune
