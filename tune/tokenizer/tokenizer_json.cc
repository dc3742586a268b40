// Reads tokenizer.json and the two small files beside it.
#include <filesystem>
#include <string>
#include <utility>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/gguf.h"
#include "tune/files/model_source.h"
#include "tune/tokenizer/bpe_tokenizer.h"
#include "tune/tokenizer/json_node.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::optional<std::string>> read_vocab(const JsonNode& vocab) {
  if (!vocab.value().is_object()) vocab.fail("must be an object of token: id");
  std::vector<std::optional<std::string>> tokens(vocab.value().size());
  for (const auto& [text, value] : vocab.value().items()) {
    const auto id = static_cast<size_t>(vocab.child(text.c_str()).token_id());
    if (id >= tokens.size()) tokens.resize(id + 1);
    if (tokens[id]) {
      vocab.fail("'" + *tokens[id] + "' and '" + text + "' both have the id " + std::to_string(id));
    }
    tokens[id] = text;
  }
  return tokens;
}

// A merge is "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(const json& value, const JsonNode& merges,
                                               size_t rank) {
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    return {value[0].get<std::string>(), value[1].get<std::string>()};
  }
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  merges.fail("entry " + std::to_string(rank) + " is " + value.dump() +
              "; must be \"left right\" or [\"left\", \"right\"]");
}

std::vector<Bpe::TokenPair> read_merges(const JsonNode& merges, const json& vocab) {
  if (!merges.value().is_array()) merges.fail("must be an array");
  std::vector<Bpe::TokenPair> out;
  out.reserve(merges.value().size());
  const auto id_of = [&](const std::string& token, size_t rank) {
    const auto found = vocab.find(token);
    if (found == vocab.end()) {
      merges.fail("entry " + std::to_string(rank) + " joins '" + token +
                  "', which is not in the vocabulary");
    }
    return found->get<int32_t>();
  };
  for (size_t rank = 0; rank < merges.value().size(); ++rank) {
    const auto [left, right] = read_merge(merges.value()[rank], merges, rank);
    out.emplace_back(id_of(left, rank), id_of(right, rank));
  }
  return out;
}

void refuse_text(const JsonNode& model, const char* key) {
  if (model.has(key) && !model.text(key).empty()) {
    model.child(key).fail("'" + model.text(key) + "' is not supported; only null or \"\" is");
  }
}

std::unique_ptr<const Bpe> read_model(const JsonNode& model, const std::string& file) {
  if (!model.value().is_object()) model.fail("is missing; expected an object with type BPE");
  const bool is_bpe = model.has("type") ? model.type() == "BPE" : model.has("merges");
  if (!is_bpe) {
    model.unsupported(model.has("type") ? model.type() : "(none)",
                      "BPE (byte-level, or SentencePiece-style with byte_fallback)");
  }
  refuse_text(model, "continuing_subword_prefix");
  refuse_text(model, "end_of_word_suffix");
  const JsonNode dropout = model.child("dropout");
  if (!dropout.is_null() && !(dropout.value().is_number() && dropout.value().get<double>() == 0)) {
    dropout.fail(dropout.value().dump() + " would make ids random; set it to null");
  }
  BpeOptions options;
  if (model.has("unk_token")) options.unk_token = model.text("unk_token");
  options.byte_fallback = model.flag("byte_fallback", false);
  options.fuse_unk = model.flag("fuse_unk", false);
  options.ignore_merges = model.flag("ignore_merges", false);
  const JsonNode vocab = model.child("vocab");
  auto tokens = read_vocab(vocab);
  auto merges = read_merges(model.child("merges"), vocab.value());
  try {
    return std::make_unique<const Bpe>(std::move(tokens), std::move(merges), std::move(options));
  } catch (const UsageError& error) {
    throw UsageError(file + ": model.merges: " + error.what());
  }
}

AddedToken read_added_token(const JsonNode& node, const Bpe& model) {
  AddedToken token;
  token.content = node.text("content");
  token.id = node.child("id").token_id();
  token.special = node.flag("special", false);
  token.single_word = node.flag("single_word", false);
  token.lstrip = node.flag("lstrip", false);
  token.rstrip = node.flag("rstrip", false);
  token.normalized = node.flag("normalized", !token.special);
  if (const auto known = model.id(token.content)) {
    token.id = *known;  // the vocabulary decides, as in Hugging Face `tokenizers`
  } else if (const std::string* other = model.token(token.id)) {
    node.fail("'" + token.content + "' has the id " + std::to_string(token.id) + ", which is '" +
              *other + "' in the vocabulary");
  }
  return token;
}

json read_optional_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return json::object();
  json value = parse_json(read_file(path.string()), path.string());
  if (!value.is_object()) throw UsageError(path.string() + ": must be a JSON object");
  return value;
}

// A special token is written "<s>" or {"content": "<s>", ...}.
std::optional<std::string> special_text(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) {
    return (*found)["content"].get<std::string>();
  }
  return std::nullopt;
}

// The file chat_template.jinja wins over the key; of a list the template named "default" is meant.
std::string read_chat_template(const json& config, const fs::path& folder,
                               const std::string& config_file) {
  const fs::path jinja = folder / "chat_template.jinja";
  std::error_code ignored;
  if (fs::exists(jinja, ignored)) return read_file(jinja.string());
  const JsonNode node = JsonNode(config, config_file).child("chat_template");
  if (node.is_null()) return "";
  if (node.value().is_string()) return node.text();
  std::string first;
  for (const JsonNode& item : node.items()) {
    if (item.text("name") == "default") return item.text("template");
    if (first.empty()) first = item.text("template");
  }
  return first;
}

// add_bos_token and add_eos_token count only where tokenizer.json does not say itself what goes
// around a text, as in Transformers 5.
void apply_bos_eos_flags(TokenizerParts& parts, const std::string& config_file) {
  json& section = parts.sections["post_processor"];
  if (!section.is_null()) return;
  const JsonNode config(parts.config, config_file);
  json single = json::array(), specials = json::object();
  const auto add = [&](const char* flag, const char* key) {
    const auto text = special_text(parts.config, key);
    if (!config.flag(flag, false) || !text) return;
    const auto id = parts.model->id(*text);
    if (!id) return;
    single.push_back({{"SpecialToken", {{"id", *text}, {"type_id", 0}}}});
    specials[*text] = {{"id", *text}, {"ids", {*id}}, {"tokens", {*text}}};
  };
  add("add_bos_token", "bos_token");
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("add_eos_token", "eos_token");
  if (specials.empty()) return;
  json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  section = {{"type", "TemplateProcessing"},
             {"single", single},
             {"pair", pair},
             {"special_tokens", specials}};
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& path) {
  json root = parse_json(read_file(path), path);
  const JsonNode node(root, path);
  if (!root.is_object()) node.fail("must be a JSON object with 'model'");
  const fs::path folder = fs::path(path).parent_path();
  TokenizerParts parts;
  parts.file = path;
  parts.model = read_model(node.child("model"), path);
  if (node.has("added_tokens")) {
    for (const JsonNode& item : node.child("added_tokens").items()) {
      parts.added_tokens.push_back(read_added_token(item, *parts.model));
    }
  }
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    parts.sections[key] = root.contains(key) ? std::move(root[key]) : json();
  }
  root = nullptr;
  const fs::path config_file = folder / "tokenizer_config.json";
  parts.config = read_optional_json(config_file);
  parts.special_tokens_map = read_optional_json(folder / "special_tokens_map.json");
  parts.chat_template = read_chat_template(parts.config, folder, config_file.string());
  for (const SpecialRole& role : special_roles()) {
    if (!special_text(parts.config, role.key) && parts.special_tokens_map.contains(role.key)) {
      parts.config[role.key] = parts.special_tokens_map[role.key];
    }
  }
  apply_bos_eos_flags(parts, config_file.string());
  const json config = parts.config;
  auto tokenizer = std::make_unique<BpeTokenizer>(std::move(parts));
  for (const SpecialRole& role : special_roles()) {
    if (const auto text = special_text(config, role.key); text && !text->empty()) {
      tokenizer->set_special(role, *text);
    }
  }
  return tokenizer;
}

std::unique_ptr<Tokenizer> load_tokenizer(const ModelSource& model) {
  if (const GgufFile* gguf = model.gguf()) return load_tokenizer_gguf(*gguf);
  const fs::path path = fs::path(model.path()) / "tokenizer.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw UsageError(
        model.path() +
        ": has no tokenizer.json; save one with Transformers "
        "(AutoTokenizer.from_pretrained(...).save_pretrained(...)) or use a GGUF file, "
        "which has its tokenizer inside");
  }
  return load_tokenizer_json(path.string());
}

}  // namespace tune
