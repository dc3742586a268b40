// Text generation, one token at a time with the model's key/value cache.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/dataset.h"
#include "tune/model/language_model.h"
#include "tune/splitmix64.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

struct SamplingOptions {
  double temperature = 0.0;  // 0 = greedy: always the most likely token
  double top_p = 1.0;  // keep the likeliest tokens whose probabilities add up to this; 1 = all
  int64_t top_k = 0;   // keep this many of the likeliest tokens; 0 = all
  double min_p = 0.0;  // keep tokens at least this likely, relative to the likeliest; 0 = all
  double repetition_penalty = 1.0;  // > 1 makes tokens that were seen before less likely
  int64_t max_new_tokens = 256;
  uint64_t seed = 42;
  std::vector<int32_t> stop_ids;  // generation ends with one of these; it is not returned
};

// Throws UsageError naming the option, its value and what is allowed.
void check_sampling_options(const SamplingOptions& options);

// Draws tokens from logits; the same seed gives the same tokens. The order of the steps is
// Transformers': repetition penalty, temperature, top_k, top_p, min_p.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // `logits` [vocab] f32; `seen` are all ids so far, the prompt's counted.
  int32_t next(const torch::Tensor& logits, std::span<const int32_t> seen);

 private:
  double uniform();

  SamplingOptions options_;
  SplitMix64 random_;
};

// Called with every new token; returning false ends the generation.
using TokenCallback = std::function<bool(int32_t id)>;

// The tokens that follow `prompt`, without the stop token. An empty prompt is a UsageError. Leaves
// the model in evaluation mode.
std::vector<int32_t> generate(LanguageModel& model, std::span<const int32_t> prompt,
                              const SamplingOptions& options, const TokenCallback& on_token = {});

// The ids that end an answer: the tokenizer's and the model's end of text, and the end-of-turn
// tokens of the named templates ("<|im_end|>", "<|eot_id|>") where the vocabulary has them.
std::vector<int32_t> stop_ids(const LanguageModel& model, const Tokenizer& tokenizer);

// Whether the prompts of a configuration have a place for a system message and earlier turns. Data
// of type chat_template have (and no data at all); one text is all that the other types know.
bool renders_conversation(const Config& config);

// A conversation as ids, in the words the configuration trains with: its first data set's chat
// template, the alpaca format (the user's message is the instruction), or plain text. Throws
// UsageError for more than one user message where the type has no place for it.
std::vector<int32_t> prompt_ids(const Config& config, const Tokenizer& tokenizer,
                                const std::vector<ChatMessage>& messages);

// Greedy answer to config.sample_prompt, as text.
std::string answer_sample_prompt(const Config& config, LanguageModel& model,
                                 const Tokenizer& tokenizer);

}  // namespace tune
