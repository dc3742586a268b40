// Writes a tokenizer as Transformers reads it, and its fingerprint.
#include <filesystem>
#include <string>
#include <utility>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/tokenizer/bpe_tokenizer.h"

namespace tune {
namespace {

using nlohmann::json;

std::string quoted(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

json to_json(const AddedToken& token, bool with_id) {
  json out = {{"content", token.content},       {"single_word", token.single_word},
              {"lstrip", token.lstrip},         {"rstrip", token.rstrip},
              {"normalized", token.normalized}, {"special", token.special}};
  if (with_id) out["id"] = token.id;
  return out;
}

std::string vocab_json(const Bpe& model) {
  std::string out = "{";
  for (int32_t id = 0; id < model.end_id(); ++id) {
    const std::string* text = model.token(id);
    // A GGUF may hold a text twice; encoding knows one of its ids, and so does the file.
    if (text == nullptr || model.id(*text) != id) continue;
    if (out.size() > 1) out += ",";
    out += quoted(*text) + ":" + std::to_string(id);
  }
  return out + "}";
}

// Merges as "left right", which every version of `tokenizers` reads, unless a token has a space.
std::string merges_json(const Bpe& model) {
  bool has_space = false;
  for (const auto& [left, right] : model.merges()) {
    has_space = has_space || model.token(left)->find(' ') != std::string::npos ||
                model.token(right)->find(' ') != std::string::npos;
  }
  std::string out = "[";
  for (const auto& [left, right] : model.merges()) {
    if (out.size() > 1) out += ",";
    const std::string &a = *model.token(left), &b = *model.token(right);
    out += has_space ? "[" + quoted(a) + "," + quoted(b) + "]" : quoted(a + " " + b);
  }
  return out + "]";
}

std::string model_json(const Bpe& model) {
  const BpeOptions& options = model.options();
  json head = {{"type", "BPE"},
               {"dropout", nullptr},
               {"unk_token", options.unk_token ? json(*options.unk_token) : json()},
               {"continuing_subword_prefix", nullptr},
               {"end_of_word_suffix", nullptr},
               {"fuse_unk", options.fuse_unk},
               {"byte_fallback", options.byte_fallback},
               {"ignore_merges", options.ignore_merges}};
  std::string out = head.dump();
  out.pop_back();
  return out + ",\n\"vocab\":" + vocab_json(model) + ",\n\"merges\":" + merges_json(model) + "}";
}

// Two 64-bit FNV-1a sums with different starts; chance collisions of 128 bits do not happen.
std::string hash_text(std::string_view text) {
  uint64_t first = 0xCBF29CE484222325u, second = 0x84222325CBF29CE4u;
  for (const char c : text) {
    first = (first ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    second = (second ^ static_cast<unsigned char>(c)) * 0x9E3779B97F4A7C15u;
    second ^= second >> 29;
  }
  std::string out;
  for (const uint64_t value : {first, second}) {
    for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 15];
  }
  return out;
}

// The text of a special token in `config`, whether written as a string or as an object.
bool names(const json& config, const char* key, const std::string& text) {
  const auto found = config.find(key);
  if (found == config.end()) return false;
  return *found == text || (found->is_object() && found->value("content", "") == text);
}

}  // namespace

std::string BpeTokenizer::tokenizer_json() const {
  std::string out = "{\"version\":\"1.0\",\n\"truncation\":null,\n\"padding\":null,\n";
  json added = json::array();
  for (const auto& [id, token] : added_.by_id()) added.push_back(to_json(token, true));
  out += "\"added_tokens\":" + added.dump() + ",\n";
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    const auto found = parts_.sections.find(key);
    out += quoted(key) + ":" + (found == parts_.sections.end() ? "null" : found->dump()) + ",\n";
  }
  return out + "\"model\":" + model_json(*parts_.model) + "}\n";
}

std::string BpeTokenizer::fingerprint() const {
  std::string text = tokenizer_json();
  for (const SpecialRole& role : special_roles()) {
    const auto& id = parts_.special.*role.id;
    text += std::string(role.key) + "=" + (id ? std::to_string(*id) : "none") + "\n";
  }
  return hash_text(text);
}

json BpeTokenizer::config_json() const {
  json config = parts_.config;
  if (!config.contains("tokenizer_class")) config["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!config.contains("clean_up_tokenization_spaces")) {
    config["clean_up_tokenization_spaces"] = false;
  }
  if (!parts_.chat_template.empty() && !config.contains("chat_template")) {
    config["chat_template"] = parts_.chat_template;
  }
  for (const SpecialRole& role : special_roles()) {
    const auto& id = parts_.special.*role.id;
    if (!id) continue;
    const std::string text(token_text(*id));
    if (!names(config, role.key, text)) config[role.key] = text;
  }
  json decoder = json::object();
  for (const auto& [id, token] : added_.by_id()) {
    decoder[std::to_string(id)] = to_json(token, false);
  }
  config["added_tokens_decoder"] = std::move(decoder);
  return config;
}

json BpeTokenizer::special_tokens_json() const {
  json map = parts_.special_tokens_map;
  for (const SpecialRole& role : special_roles()) {
    const auto& id = parts_.special.*role.id;
    if (!id) continue;
    const std::string text(token_text(*id));
    if (!names(map, role.key, text)) map[role.key] = text;
  }
  return map;
}

void BpeTokenizer::save(const std::string& folder) const {
  std::error_code failure;
  const std::filesystem::path path(folder);
  std::filesystem::create_directories(path, failure);
  if (failure) throw Error(folder + ": cannot create the folder: " + failure.message());
  const auto write = [&](const char* name, const std::string& content) {
    write_file_atomically((path / name).string(), content);
  };
  const auto pretty = [](const json& value) {
    return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  };
  write("tokenizer.json", tokenizer_json());
  write("tokenizer_config.json", pretty(config_json()));
  write("special_tokens_map.json", pretty(special_tokens_json()));
}

}  // namespace tune
