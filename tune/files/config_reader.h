// ConfigReader: typed access to a model's config.json, with errors that name file, line and key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace tune {

// A JSON object; null counts as absent. A value of the wrong type is a tune::UsageError. Keeps
// references: object, text and path must outlive it.
class ConfigReader {
 public:
  using json = nlohmann::json;
  ConfigReader(const json& object, const std::string& text, const std::string& path)
      : object_(object), text_(text), path_(path) {}

  // Throws UsageError "path:line: key cause".
  [[noreturn]] void fail(const std::string& key, const std::string& cause) const;

  const json* find(const std::string& key) const;  // null when absent
  bool is_absent(const std::string& key) const { return !object_.contains(key); }  // null is there
  std::optional<int64_t> integer(const std::string& key) const;
  int64_t required(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  bool boolean(const std::string& key, bool otherwise) const;
  std::optional<std::string> text(const std::string& key) const;
  const json* mapping(const std::string& key) const;  // null when absent
  ConfigReader inside(const json& object) const { return {object, text_, path_}; }

  // A value for a message, at most 60 characters of it.
  static std::string shown(const json& value);

 private:
  std::string line_of(const std::string& key) const;

  const json& object_;
  const std::string& text_;
  const std::string& path_;
};

}  // namespace tune
