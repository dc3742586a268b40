#include "tune/files/config_reader.h"

#include <algorithm>

#include "tune/error.h"

namespace tune {

using nlohmann::json;

void ConfigReader::fail(const std::string& key, const std::string& cause) const {
  throw UsageError(path_ + line_of(key) + ": " + key + " " + cause);
}

const json* ConfigReader::find(const std::string& key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<int64_t> ConfigReader::integer(const std::string& key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  if (!fits) fail(key, "is " + shown(*value) + "; a whole number is needed");
  return value->get<int64_t>();
}

int64_t ConfigReader::required(const std::string& key) const {
  const auto value = integer(key);
  if (!value) fail(key, "is missing; a whole number is needed");
  return *value;
}

std::optional<double> ConfigReader::number(const std::string& key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(key, "is " + shown(*value) + "; a number is needed");
  return value->get<double>();
}

bool ConfigReader::boolean(const std::string& key, bool otherwise) const {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) fail(key, "is " + shown(*value) + "; true or false is needed");
  return value->get<bool>();
}

std::optional<std::string> ConfigReader::text(const std::string& key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "is " + shown(*value) + "; a text is needed");
  return value->get<std::string>();
}

const json* ConfigReader::mapping(const std::string& key) const {
  const json* value = find(key);
  if (value != nullptr && !value->is_object()) {
    fail(key, "is " + shown(*value) + "; a mapping is needed");
  }
  return value;
}

std::string ConfigReader::shown(const json& value) {
  const std::string text = value.dump();
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

// ":7", the line where the key first stands; JSON values do not remember theirs.
std::string ConfigReader::line_of(const std::string& key) const {
  const size_t at = text_.find('"' + key + '"');
  if (at == std::string::npos) return "";
  const auto end = text_.begin() + static_cast<std::ptrdiff_t>(at);
  std::string place = ":";
  place += std::to_string(std::count(text_.begin(), end, '\n') + 1);
  return place;
}

}  // namespace tune
