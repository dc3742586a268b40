// regard infer: one prompt, or a chat, answered by the trained model or by the base model.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "tune/data/dataset.h"
#include "tune/error.h"
#include "tune/train/generate.h"
#include "tune/train/session.h"

namespace cli {
namespace {

struct InferOptions {
  std::optional<std::string> prompt;
  std::string system;
  bool chat = false, base = false, raw = false;
  tune::SamplingOptions sampling;
};

void add_options(CLI::App& app, InferOptions& options) {
  tune::SamplingOptions& sampling = options.sampling;
  app.add_option("--prompt", options.prompt,
                 "the question; without it, all of standard input is one (a line on a terminal)");
  app.add_option("--system", options.system,
                 "system message, for models trained on type: chat_template");
  app.add_flag("--chat", options.chat, "a conversation: every line of standard input is a turn");
  app.add_flag("--raw", options.raw,
               "continue the prompt's text, without the training format around it");
  app.add_flag("--base", options.base, "ask the base model, without what training added");
  app.add_option("--temperature", sampling.temperature, "0 = always the likeliest token")
      ->capture_default_str();
  app.add_option("--top-p", sampling.top_p, "nucleus sampling")->capture_default_str();
  app.add_option("--top-k", sampling.top_k, "only the k likeliest tokens; 0 = all")
      ->capture_default_str();
  app.add_option("--min-p", sampling.min_p, "only tokens this likely next to the likeliest")
      ->capture_default_str();
  app.add_option("--repetition-penalty", sampling.repetition_penalty, "1 = none")
      ->capture_default_str();
  app.add_option("--max-new-tokens", sampling.max_new_tokens, "length of an answer at most")
      ->capture_default_str();
  app.add_option("--sampling-seed", sampling.seed, "the same seed gives the same answer")
      ->capture_default_str();
}

void check_options(const InferOptions& options, const tune::Config& config) {
  tune::check_sampling_options(options.sampling);
  if (options.raw && (options.chat || !options.system.empty())) {
    throw tune::UsageError(
        "--raw continues the prompt's text as it is; leave --chat and --system out");
  }
  if (options.chat && options.prompt) {
    throw tune::UsageError("--chat reads its turns from standard input; leave --prompt out");
  }
  if (!options.system.empty() && !tune::renders_conversation(config)) {
    throw tune::UsageError("--system: the first data set is of type \"" +
                           config.datasets.front().type +
                           "\", whose prompts have no system message; write what it says into the "
                           "prompt, or train with type: chat_template");
  }
}

// Beyond its positions a model was never trained; the text falls apart there without an error.
void warn_of_positions(const tune::LanguageModel& model, size_t prompt_length,
                       int64_t max_new_tokens) {
  const int64_t limit = model.config().max_position_embeddings;
  const auto length = static_cast<int64_t>(prompt_length);
  if (limit <= 0 || length + max_new_tokens <= limit) return;
  const std::string remedy =
      length < limit ? "write --max-new-tokens " + std::to_string(limit - length) + " at most"
                     : std::string("write a shorter prompt");
  std::fprintf(stderr,
               "warning: a prompt of %lld tokens and --max-new-tokens %lld are beyond the %lld "
               "positions the model was trained for: %s, or expect worse text there\n",
               static_cast<long long>(length), static_cast<long long>(max_new_tokens),
               static_cast<long long>(limit), remedy.c_str());
}

// Prints the answer as it grows and returns it.
std::string answer(tune::LanguageModel& model, const tune::Tokenizer& tokenizer,
                   const std::vector<int32_t>& prompt, const InferOptions& options) {
  tune::SamplingOptions sampling = options.sampling;
  sampling.stop_ids = tune::stop_ids(model, tokenizer);
  warn_of_positions(model, prompt.size(), sampling.max_new_tokens);
  tune::StreamDecoder decoder(tokenizer, /*skip_special_tokens=*/true);
  std::string text;
  const auto show = [&](const std::string& piece) {
    text += piece;
    std::fputs(piece.c_str(), stdout);
    std::fflush(stdout);
  };
  tune::generate(model, prompt, sampling, [&](int32_t id) {
    show(decoder.push(id));
    return true;
  });
  show(decoder.finish());
  std::fputs("\n", stdout);
  return text;
}

void chat(const tune::Config& config, tune::LanguageModel& model, const tune::Tokenizer& tokenizer,
          const InferOptions& options) {
  std::vector<tune::ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  const bool has_turns = tune::renders_conversation(config);
  if (!has_turns) {
    std::fprintf(stderr,
                 "note: the first data set's type has no earlier turns: every line is asked by "
                 "itself\n");
  }
  const bool is_terminal = ::isatty(STDIN_FILENO) == 1;
  const auto ask = [&](std::string& turn) {
    if (is_terminal) std::fputs("> ", stdout);
    std::fflush(stdout);
    return static_cast<bool>(std::getline(std::cin, turn));
  };
  for (std::string turn; ask(turn);) {
    if (turn.empty()) continue;
    if (!has_turns) messages.clear();
    messages.push_back({"user", turn});
    const std::vector<int32_t> prompt = tune::prompt_ids(config, tokenizer, messages);
    messages.push_back({"assistant", answer(model, tokenizer, prompt, options)});
  }
}

// A line from a terminal; what is piped in is one prompt, without the line ends behind it.
std::string read_prompt() {
  std::string prompt;
  if (::isatty(STDIN_FILENO) == 1) {
    std::getline(std::cin, prompt);
    return prompt;
  }
  prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  while (!prompt.empty() && (prompt.back() == '\n' || prompt.back() == '\r')) prompt.pop_back();
  return prompt;
}

std::vector<int32_t> single_prompt(const tune::Config& config, const tune::Tokenizer& tokenizer,
                                   const InferOptions& options) {
  const std::string prompt = options.prompt ? *options.prompt : read_prompt();
  if (prompt.empty()) {
    throw tune::UsageError(
        "there is no prompt: write --prompt \"...\" or give one on standard input");
  }
  if (options.raw) return tokenizer.encode(prompt, /*add_special_tokens=*/true);
  std::vector<tune::ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", prompt});
  return tune::prompt_ids(config, tokenizer, messages);
}

}  // namespace

int infer_command(const Words& words) {
  CommandLine line("infer", "Ask the model that a YAML file trained, or its base model.");
  InferOptions options;
  add_options(line.app(), options);
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::infer);
  check_options(options, config);
  tune::require_built(config);
  tune::use_threads(config);
  const std::unique_ptr<tune::Tokenizer> tokenizer = tune::open_tokenizer(config);
  // Asked before the weights are loaded: a prompt that cannot be used costs nothing.
  std::vector<int32_t> prompt;
  if (!options.chat) prompt = single_prompt(config, *tokenizer, options);
  std::unique_ptr<tune::LanguageModel> model;
  {
    Progress progress("Loading weights");
    model = tune::open_trained_model(config, *tokenizer, !options.base,
                                     [&](int64_t done, int64_t total) { progress(done, total); });
  }
  if (options.chat) {
    chat(config, *model, *tokenizer, options);
    return 0;
  }
  answer(*model, *tokenizer, prompt, options);
  return 0;
}

}  // namespace cli
