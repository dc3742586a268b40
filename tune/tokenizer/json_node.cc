#include "tune/tokenizer/json_node.h"

#include <algorithm>

#include "tune/error.h"

namespace tune {
namespace {

// Deeper than this is no tokenizer, and later code walks the value recursively.
constexpr int kMaxDepth = 64;
// Ids index tables; the largest vocabularies have about 2^18 tokens.
constexpr int64_t kMaxTokenId = (int64_t{1} << 24) - 1;

const nlohmann::json kNull;

void check_depth(std::string_view text, const std::string& path) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kMaxDepth) {
      throw UsageError(path + ": nested deeper than " + std::to_string(kMaxDepth) +
                       " levels; this is no tokenizer file");
    }
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& path) {
  if (text.empty()) throw UsageError(path + ": the file is empty; expected JSON");
  check_depth(text, path);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const size_t end = std::min<size_t>(error.byte, text.size());
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    throw UsageError(path + ":" + std::to_string(line) + ": not valid JSON (" + error.what() + ")");
  }
}

bool JsonNode::has(const char* key) const {
  return value_->is_object() && value_->contains(key) && !(*value_)[key].is_null();
}

JsonNode JsonNode::child(const char* key) const {
  if (!value_->is_object()) fail("must be an object with '" + std::string(key) + "'");
  const auto found = value_->find(key);
  return {found == value_->end() ? kNull : *found, file_, key_.empty() ? key : key_ + "." + key};
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_->is_array()) fail(is_null() ? "is missing; expected an array" : "must be an array");
  std::vector<JsonNode> out;
  out.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    out.emplace_back((*value_)[i], file_, key_ + "[" + std::to_string(i) + "]");
  }
  return out;
}

std::string JsonNode::text() const {
  if (!value_->is_string()) fail(is_null() ? "is missing; expected a string" : "must be a string");
  return value_->get<std::string>();
}

int32_t JsonNode::token_id() const {
  if (!value_->is_number_integer()) fail("must be the id of a token, an integer");
  const bool too_large = value_->is_number_unsigned()
                             ? value_->get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)
                             : false;
  if (too_large || value_->get<int64_t>() < 0) {
    fail(value_->dump() + " is no id of a token: allowed are 0 to " + std::to_string(kMaxTokenId));
  }
  return value_->get<int32_t>();
}

bool JsonNode::flag(const char* key, bool absent) const {
  const JsonNode node = child(key);
  if (node.is_null()) return absent;
  if (!node.value().is_boolean()) node.fail("must be true or false");
  return node.value().get<bool>();
}

int64_t JsonNode::integer(const char* key, int64_t absent) const {
  const JsonNode node = child(key);
  if (node.is_null()) return absent;
  if (!node.value().is_number_integer()) node.fail("must be an integer");
  return node.value().get<int64_t>();
}

void JsonNode::fail(const std::string& reason) const {
  throw UsageError(file_ + ": " + (key_.empty() ? "" : key_ + ": ") + reason);
}

void JsonNode::unsupported(const std::string& name, std::string_view supported) const {
  fail("type '" + name + "' is not supported; supported are " + std::string(supported));
}

}  // namespace tune
