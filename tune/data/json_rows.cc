#include "tune/data/json_rows.h"

#include <algorithm>

#include "tune/error.h"
#include "tune/files/utf8.h"

namespace tune {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view strip(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<RowText> split_lines(std::string_view content, std::string_view file) {
  std::vector<RowText> rows;
  int64_t line = 0;
  while (!content.empty()) {
    ++line;
    const size_t end = content.find('\n');
    const std::string_view text = strip(content.substr(0, end));
    if (!text.empty()) rows.push_back({{file, line}, text});
    content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
  }
  return rows;
}

// Finds the elements of a JSON array without parsing them: only strings and brackets matter here,
// what is inside is checked element by element, with its own line.
class ArraySplitter {
 public:
  ArraySplitter(std::string_view content, std::string_view file) : content_(content), file_(file) {}

  std::vector<RowText> split() {
    skip_blanks();
    advance();  // the opening bracket
    skip_blanks();
    while (peek() != ']') {
      const RowPlace place{file_, line_};
      const size_t begin = position_;
      skip_element();
      rows_.push_back({place, strip(content_.substr(begin, position_ - begin))});
      if (rows_.back().text.empty()) fail_row(place, "an element of the array is empty");
      if (peek() != ',') continue;
      advance();
      skip_blanks();
      if (peek() == ']') fail_row({file_, line_}, "a comma before the end of the array");
    }
    advance();
    skip_blanks();
    if (position_ < content_.size()) {
      fail_row({file_, line_},
               "text after the end of the array; a file is either one array or one object a line");
    }
    return std::move(rows_);
  }

 private:
  char peek() const {
    if (position_ >= content_.size()) fail_row({file_, line_}, "the array is never closed by ]");
    return content_[position_];
  }
  void advance() {
    if (content_[position_] == '\n') ++line_;
    ++position_;
  }
  void skip_blanks() {
    while (position_ < content_.size() && is_blank(content_[position_])) advance();
  }

  void skip_string() {
    advance();
    while (peek() != '"') {
      if (peek() == '\\') advance();
      peek();
      advance();
    }
    advance();
  }

  // Stops at the comma or bracket that ends the element.
  void skip_element() {
    int depth = 0;
    while (depth > 0 || (peek() != ',' && peek() != ']')) {
      const char c = peek();
      if (c == '"') {
        skip_string();
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      if (depth < 0) fail_row({file_, line_}, "a closing bracket too many");
      advance();
    }
  }

  std::string_view content_, file_;
  size_t position_ = 0;
  int64_t line_ = 1;
  std::vector<RowText> rows_;
};

// The parser's text without its "[json.exception.parse_error.101] " in front.
std::string parser_message(const nlohmann::json::parse_error& error) {
  const std::string text = error.what();
  const size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

}  // namespace

void fail_row(const RowPlace& place, const std::string& message) {
  throw UsageError(std::string(place.file) + ":" + std::to_string(place.line) + ": " + message);
}

std::vector<RowText> split_rows(std::string_view content, std::string_view file) {
  if (content.starts_with(kByteOrderMark)) content.remove_prefix(kByteOrderMark.size());
  const std::string_view text = strip(content);
  if (text.starts_with('[')) return ArraySplitter(content, file).split();
  return split_lines(content, file);
}

Row::Row(const RowText& row) : place_(row.place) {
  if (const auto position = find_invalid_utf8(row.text)) {
    fail("invalid UTF-8 at byte " + std::to_string(*position + 1) +
         " of the row; save the file as UTF-8");
  }
  try {
    value_ = nlohmann::json::parse(row.text);
  } catch (const nlohmann::json::parse_error& error) {
    fail("invalid JSON: " + parser_message(error) +
         "; a data file holds one JSON object a line, or one array of objects");
  }
  if (!value_.is_object()) {
    fail("a row must be a JSON object with named fields; this is " + describe_type(value_));
  }
}

bool Row::has(const std::string& field) const {
  const auto found = value_.find(field);
  return found != value_.end() && !found->is_null();
}

const nlohmann::json& Row::require(const std::string& field) const {
  const auto found = value_.find(field);
  if (found == value_.end()) {
    fail("missing field \"" + field + "\"; the fields here are: " + list_fields(value_));
  }
  return *found;
}

const std::string& Row::text(const std::string& field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_string()) {
    fail("field \"" + field + "\" must be a string; it is " + describe_type(value));
  }
  return value.get_ref<const std::string&>();
}

std::string Row::text_or_empty(const std::string& field) const {
  return has(field) ? text(field) : std::string();
}

const nlohmann::json& Row::array(const std::string& field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_array()) {
    fail("field \"" + field + "\" must be an array; it is " + describe_type(value));
  }
  return value;
}

std::string describe_type(const nlohmann::json& value) {
  switch (value.type()) {
    case nlohmann::json::value_t::null:
      return "null";
    case nlohmann::json::value_t::boolean:
      return "a boolean";
    case nlohmann::json::value_t::string:
      return "a string";
    case nlohmann::json::value_t::array:
      return "an array";
    case nlohmann::json::value_t::object:
      return "an object";
    default:
      return "a number (" + value.dump() + ")";
  }
}

std::string list_fields(const nlohmann::json& object) {
  constexpr size_t kMaxListed = 12;
  if (object.empty()) return "(none)";
  std::string list;
  size_t count = 0;
  for (auto item = object.begin(); item != object.end(); ++item, ++count) {
    if (count == kMaxListed) return list + ", ...";
    list += (count == 0 ? "" : ", ") + item.key();
  }
  return list;
}

}  // namespace tune
