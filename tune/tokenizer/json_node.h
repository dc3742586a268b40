// JsonNode: a value in a JSON file that knows where it stands, for messages that name file and key.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

// Parses the text of `path`. Throws UsageError for a syntax error (with its line) and for nesting
// deeper than any tokenizer needs.
nlohmann::json parse_json(std::string_view text, const std::string& path);

// A view; the JSON value must outlive it. Every accessor throws UsageError "file: key: reason".
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string file, std::string key = "")
      : value_(&value), file_(std::move(file)), key_(std::move(key)) {}

  const nlohmann::json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }
  // True when the key is there and is not null.
  bool has(const char* key) const;
  // The value of `key`; null where it is absent.
  JsonNode child(const char* key) const;
  std::vector<JsonNode> items() const;  // of an array
  std::string text() const;
  int32_t token_id() const;  // an integer that can be the id of a token
  std::string text(const char* key) const { return child(key).text(); }
  std::string type() const { return text("type"); }
  bool flag(const char* key, bool absent) const;
  int64_t integer(const char* key, int64_t absent) const;

  [[noreturn]] void fail(const std::string& reason) const;
  // "type 'X' is not supported; supported are ..."
  [[noreturn]] void unsupported(const std::string& name, std::string_view supported) const;

 private:
  const nlohmann::json* value_;
  std::string file_, key_;
};

}  // namespace tune
