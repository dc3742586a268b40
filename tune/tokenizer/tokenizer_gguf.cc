// The tokenizer inside a GGUF file, built as the tokenizer.json that means the same.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "tune/error.h"
#include "tune/files/gguf.h"
#include "tune/tokenizer/gguf_vocabulary.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

using nlohmann::json;

constexpr const char* kVisibleSpace = "\xE2\x96\x81";  // U+2581

GgufTokenType type_of(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.types.empty() ? GgufTokenType::normal : vocabulary.types[id];
}

void check(const GgufVocabulary& vocabulary) {
  const auto same_length = [&](const char* key, size_t length) {
    if (length != 0 && length != vocabulary.tokens.size()) {
      throw UsageError(vocabulary.file + ": " + key + " has " + std::to_string(length) +
                       " entries for " + std::to_string(vocabulary.tokens.size()) +
                       " tokens; the file is damaged");
    }
  };
  if (vocabulary.tokens.empty()) {
    throw UsageError(vocabulary.file +
                     ": has no tokenizer (tokenizer.ggml.tokens is missing); use a GGUF that was "
                     "converted with its vocabulary");
  }
  same_length("tokenizer.ggml.token_type", vocabulary.types.size());
  same_length("tokenizer.ggml.scores", vocabulary.scores.size());
  for (const SpecialRole& role : special_roles()) {
    const auto& id = vocabulary.special.*role.id;
    if (id && (*id < 0 || static_cast<size_t>(*id) >= vocabulary.tokens.size())) {
      throw UsageError(vocabulary.file + ": " + role.key + " has the id " + std::to_string(*id) +
                       ", but there are only " + std::to_string(vocabulary.tokens.size()) +
                       " tokens");
    }
  }
}

// Byte-level vocabularies carry their merges as "left right".
std::vector<Bpe::TokenPair> ranked_merges(const GgufVocabulary& vocabulary) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    ids[vocabulary.tokens[i]] = static_cast<int32_t>(i);
  }
  std::vector<Bpe::TokenPair> out;
  out.reserve(vocabulary.merges.size());
  for (const std::string& merge : vocabulary.merges) {
    const size_t space = merge.find(' ', 1);  // a token may begin with a space itself
    const auto left = ids.find(std::string_view(merge).substr(0, space));
    const auto right = space == std::string::npos
                           ? ids.end()
                           : ids.find(std::string_view(merge).substr(space + 1));
    if (left == ids.end() || right == ids.end()) {
      throw UsageError(vocabulary.file + ": tokenizer.ggml.merges: '" + merge +
                       "' does not join two tokens of the vocabulary");
    }
    out.emplace_back(left->second, right->second);
  }
  return out;
}

struct ScoredMerge {
  double score = 0;
  size_t left_length = 0, right_length = 0;  // in characters
  Bpe::TokenPair pair;
};

// All ways to write token `id` as two tokens, in the order of their ids.
void append_splits(const std::string& text, double score,
                   const std::unordered_map<std::string_view, int32_t>& ids,
                   std::vector<ScoredMerge>& out) {
  const auto first = static_cast<std::ptrdiff_t>(out.size());
  std::vector<size_t> starts;
  for (size_t pos = 0; pos < text.size(); next_character(text, pos)) starts.push_back(pos);
  for (size_t i = 1; i < starts.size(); ++i) {
    const auto left = ids.find(std::string_view(text).substr(0, starts[i]));
    const auto right = ids.find(std::string_view(text).substr(starts[i]));
    if (left == ids.end() || right == ids.end()) continue;
    out.push_back({score, i, starts.size() - i, {left->second, right->second}});
  }
  std::sort(out.begin() + first, out.end(),
            [](const ScoredMerge& a, const ScoredMerge& b) { return a.pair < b.pair; });
}

// SentencePiece joins the neighbours whose union has the highest score (Kudo and Richardson 2018,
// arXiv 1808.06226; its BPE stores minus the rank as score). The same as ranks: every pair of
// tokens that makes a token, best score first, as Transformers converts such a vocabulary.
std::vector<Bpe::TokenPair> scored_merges(const GgufVocabulary& vocabulary) {
  std::unordered_map<std::string_view, int32_t> ids;
  const auto merges = [&](size_t id) {
    const GgufTokenType type = type_of(vocabulary, id);
    return type != GgufTokenType::control && type != GgufTokenType::unknown &&
           type != GgufTokenType::byte;
  };
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (merges(i)) ids[vocabulary.tokens[i]] = static_cast<int32_t>(i);
  }
  std::vector<ScoredMerge> scored;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (merges(i)) append_splits(vocabulary.tokens[i], vocabulary.scores[i], ids, scored);
  }
  std::stable_sort(scored.begin(), scored.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_length != b.left_length) return a.left_length > b.left_length;
    return a.right_length > b.right_length;
  });
  std::vector<Bpe::TokenPair> out;
  out.reserve(scored.size());
  for (const ScoredMerge& merge : scored) out.push_back(merge.pair);
  return out;
}

json template_around(const GgufVocabulary& vocabulary, bool add_bos, bool add_eos) {
  json single = json::array(), specials = json::object();
  const auto add = [&](bool wanted, const std::optional<int32_t>& id) {
    if (!wanted || !id) return;
    const std::string& text = vocabulary.tokens[static_cast<size_t>(*id)];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    specials[text] = {{"id", text}, {"ids", json::array({*id})}, {"tokens", json::array({text})}};
  };
  add(add_bos, vocabulary.special.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(add_eos, vocabulary.special.eos);
  if (specials.empty()) return nullptr;
  json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", specials}};
}

// Llama 2's tokenizer.json: spaces made visible, bytes put together again when decoding.
void set_sentencepiece_sections(bool add_space_prefix, json& sections) {
  const auto replace = [](const char* from, const char* to) {
    return json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  json normalizers = json::array();
  json decoders = {replace(kVisibleSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (add_space_prefix) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", kVisibleSpace}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  normalizers.push_back(replace(" ", kVisibleSpace));
  sections["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  sections["pre_tokenizer"] = nullptr;
  sections["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
}

std::vector<AddedToken> added_tokens(const GgufVocabulary& vocabulary) {
  std::vector<AddedToken> out;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const GgufTokenType type = type_of(vocabulary, i);
    const bool special = type == GgufTokenType::control || type == GgufTokenType::unknown;
    if (!special && type != GgufTokenType::user_defined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = vocabulary.tokens[i];
    token.special = special;
    token.normalized = false;
    out.push_back(std::move(token));
  }
  return out;
}

std::unique_ptr<const Bpe> make_model(const GgufVocabulary& vocabulary,
                                      std::vector<Bpe::TokenPair> merges, BpeOptions options) {
  std::vector<std::optional<std::string>> tokens(vocabulary.tokens.begin(),
                                                 vocabulary.tokens.end());
  try {
    return std::make_unique<const Bpe>(std::move(tokens), std::move(merges), std::move(options));
  } catch (const UsageError& error) {
    throw UsageError(vocabulary.file + ": tokenizer.ggml.merges: " + error.what());
  }
}

void make_byte_level(const GgufVocabulary& vocabulary, TokenizerParts& parts) {
  GgufPreTokenizer rule = find_gguf_pre_tokenizer(vocabulary.pre, vocabulary.file);
  BpeOptions options;
  options.ignore_merges = rule.ignore_merges;
  parts.model = make_model(vocabulary, ranked_merges(vocabulary), options);
  parts.sections["normalizer"] = std::move(rule.normalizer);
  parts.sections["pre_tokenizer"] = std::move(rule.pre_tokenizer);
  parts.sections["decoder"] = {{"type", "ByteLevel"},
                               {"add_prefix_space", true},
                               {"trim_offsets", true},
                               {"use_regex", true}};
  parts.sections["post_processor"] = template_around(
      vocabulary, vocabulary.add_bos.value_or(rule.adds_bos), vocabulary.add_eos.value_or(false));
}

void make_sentencepiece(const GgufVocabulary& vocabulary, TokenizerParts& parts) {
  if (vocabulary.scores.empty()) {
    throw UsageError(vocabulary.file +
                     ": tokenizer.ggml.scores is missing; a 'llama' tokenizer cannot merge "
                     "without it");
  }
  BpeOptions options;
  options.byte_fallback = true;
  options.fuse_unk = true;
  if (vocabulary.special.unk) {
    options.unk_token = vocabulary.tokens[static_cast<size_t>(*vocabulary.special.unk)];
  }
  parts.model = make_model(vocabulary, scored_merges(vocabulary), options);
  set_sentencepiece_sections(vocabulary.add_space_prefix.value_or(true), parts.sections);
  parts.sections["post_processor"] = template_around(vocabulary, vocabulary.add_bos.value_or(true),
                                                     vocabulary.add_eos.value_or(false));
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufFile& file) {
  GgufVocabulary out;
  out.file = file.path();
  const auto text = [&](const char* key) { return std::string(file.string(key).value_or("")); };
  out.model = text("tokenizer.ggml.model");
  out.pre = file.has_key("tokenizer.ggml.pre") ? text("tokenizer.ggml.pre") : "default";
  out.chat_template = text("tokenizer.chat_template");
  for (const std::string_view token : file.strings("tokenizer.ggml.tokens")) {
    out.tokens.push_back(to_valid_utf8(token));
  }
  for (const std::string_view merge : file.strings("tokenizer.ggml.merges")) {
    out.merges.emplace_back(merge);
  }
  out.scores = file.numbers("tokenizer.ggml.scores");
  for (const int64_t type : file.integers("tokenizer.ggml.token_type")) {
    out.types.push_back(static_cast<GgufTokenType>(type));
  }
  const auto id = [&](const char* key) -> std::optional<int32_t> {
    const auto value = file.integer(key);
    // 2^32 - 1 is how some converters write "none".
    if (!value || *value == int64_t{0xFFFFFFFF} || *value < 0) return std::nullopt;
    return static_cast<int32_t>(std::min<int64_t>(*value, INT32_MAX));
  };
  out.special = {id("tokenizer.ggml.bos_token_id"), id("tokenizer.ggml.eos_token_id"),
                 id("tokenizer.ggml.padding_token_id"), id("tokenizer.ggml.unknown_token_id")};
  out.add_bos = file.boolean("tokenizer.ggml.add_bos_token");
  out.add_eos = file.boolean("tokenizer.ggml.add_eos_token");
  out.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  return out;
}

std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufVocabulary& vocabulary) {
  check(vocabulary);
  TokenizerParts parts;
  parts.file = vocabulary.file;
  parts.special = vocabulary.special;
  parts.chat_template = vocabulary.chat_template;
  parts.added_tokens = added_tokens(vocabulary);
  if (vocabulary.model == "gpt2") {
    make_byte_level(vocabulary, parts);
  } else if (vocabulary.model == "llama") {
    make_sentencepiece(vocabulary, parts);
  } else {
    throw UsageError(vocabulary.file + ": tokenizer.ggml.model is '" + vocabulary.model +
                     "'; supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE). Use "
                     "the model's Hugging Face folder with its tokenizer.json instead");
  }
  return std::make_unique<BpeTokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> load_tokenizer_gguf(const GgufFile& file) {
  return make_gguf_tokenizer(read_gguf_vocabulary(file));
}

}  // namespace tune
