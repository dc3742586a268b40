// Rows of a data file: JSON lines, or one JSON array of objects. Every error names file and line.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

// Where a row stands; `file` outlives the row.
struct RowPlace {
  std::string_view file;
  int64_t line = 0;  // 1-based; of an array's element, the line it starts on
};

// Throws UsageError "FILE:LINE: message".
[[noreturn]] void fail_row(const RowPlace& place, const std::string& message);

// One row not yet parsed.
struct RowText {
  RowPlace place;
  std::string_view text;
};

// Cuts a file into rows: its lines, or the elements when its first character is '['. A byte order
// mark, blank lines and carriage returns before line ends are skipped.
std::vector<RowText> split_rows(std::string_view content, std::string_view file);

// One parsed row with checked access to its fields.
class Row {
 public:
  // Throws UsageError for invalid UTF-8, invalid JSON, and anything but an object.
  explicit Row(const RowText& row);

  const RowPlace& place() const { return place_; }
  [[noreturn]] void fail(const std::string& message) const { fail_row(place_, message); }

  bool has(const std::string& field) const;  // present and not null
  // Throw UsageError when the field is missing (the message lists the fields that are there), null
  // or of another type.
  const std::string& text(const std::string& field) const;
  const nlohmann::json& array(const std::string& field) const;
  // "" when the field is missing or null.
  std::string text_or_empty(const std::string& field) const;

 private:
  const nlohmann::json& require(const std::string& field) const;

  RowPlace place_;
  nlohmann::json value_;
};

// "a string", "an array", ... for messages.
std::string describe_type(const nlohmann::json& value);

// "a, b, c" of an object's fields, at most a dozen.
std::string list_fields(const nlohmann::json& object);

}  // namespace tune
