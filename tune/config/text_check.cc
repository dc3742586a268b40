#include "tune/config/text_check.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tune/files/utf8.h"

namespace tune {
namespace {

bool is_forbidden_control(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return (byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7F;
}

bool continues(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

std::string hex_byte(char c) {
  std::array<char, 8> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "0x%02X", static_cast<unsigned>(uint8_t(c)));
  return buffer.data();
}

}  // namespace

std::optional<YamlFault> find_text_fault(std::string_view text) {
  const size_t invalid = find_invalid_utf8(text).value_or(text.size());
  YamlMark mark{1, 1};
  for (size_t at = 0; at < text.size(); ++at) {
    if (at == invalid) {
      return YamlFault{mark, "byte " + hex_byte(text[at]) +
                                 " is not UTF-8: save the file as UTF-8 text (is this the right "
                                 "file?)"};
    }
    if (is_forbidden_control(text[at])) {
      return YamlFault{mark, "control character " + hex_byte(text[at]) +
                                 ": this is a binary file, not a YAML text (is this the right "
                                 "file?)"};
    }
    if (text[at] == '\n') {
      ++mark.line;
      mark.column = 1;
    } else if (at + 1 == invalid || !continues(text[at + 1])) {
      ++mark.column;  // a column is a character, whatever its bytes
    }
  }
  return std::nullopt;
}

std::string_view skip_byte_order_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return text.substr(0, kMark.size()) == kMark ? text.substr(kMark.size()) : text;
}

}  // namespace tune
