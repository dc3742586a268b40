#include <array>
#include <string_view>

#include "tune/error.h"
#include "tune/tokenizer/gguf_vocabulary.h"

namespace tune {
namespace {

using nlohmann::json;

// Llama 3's words (its tokenizer.json): like GPT-2's, but contractions in any case, one other sign
// may lead a word, digits in threes, line breaks end a run of signs.
constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen 2's (its tokenizer.json): the same with single digits.
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
// Mistral's Tekken (the tokenizer.json of Mistral-Nemo): a capital inside a word begins a new one.
constexpr const char* kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json sequence(json first, json second) {
  return {{"type", "Sequence"}, {"pretokenizers", {std::move(first), std::move(second)}}};
}

json split_words(const char* expression) {
  return sequence({{"type", "Split"},
                   {"pattern", {{"Regex", expression}}},
                   {"behavior", "Isolated"},
                   {"invert", false}},
                  byte_level(false));
}

struct NamedRule {
  std::string_view name;
  GgufPreTokenizer (*make)();
};

GgufPreTokenizer gpt2() { return {nullptr, byte_level(true), false, false}; }
GgufPreTokenizer smollm() {
  return {nullptr, sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)),
          false, false};
}
GgufPreTokenizer llama3() { return {nullptr, split_words(kLlama3Words), true, true}; }
GgufPreTokenizer qwen2() { return {{{"type", "NFC"}}, split_words(kQwen2Words), false, false}; }
GgufPreTokenizer deepseek_qwen() {
  return {{{"type", "NFC"}}, split_words(kQwen2Words), false, true};
}
GgufPreTokenizer tekken() { return {nullptr, split_words(kTekkenWords), true, true}; }

// Names that llama.cpp's converter writes.
constexpr std::array<NamedRule, 16> kRules = {{
    {"default", gpt2},
    {"gpt-2", gpt2},
    {"gpt2", gpt2},
    {"mpt", gpt2},
    {"olmo", gpt2},
    {"smollm", smollm},
    {"starcoder", smollm},
    {"refact", smollm},
    {"codeshell", smollm},
    {"llama-bpe", llama3},
    {"llama3", llama3},
    {"llama-v3", llama3},
    {"qwen2", qwen2},
    {"megrez", qwen2},
    {"deepseek-r1-qwen", deepseek_qwen},
    {"tekken", tekken},
}};

}  // namespace

GgufPreTokenizer find_gguf_pre_tokenizer(const std::string& name, const std::string& file) {
  std::string known;
  for (const NamedRule& rule : kRules) {
    if (rule.name == name) return rule.make();
    known += (known.empty() ? "" : ", ") + std::string(rule.name);
  }
  throw UsageError(file + ": tokenizer.ggml.pre is '" + name + "'; supported are " + known +
                   ". Use the model's Hugging Face folder with its tokenizer.json instead");
}

}  // namespace tune
