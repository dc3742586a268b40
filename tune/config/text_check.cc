#include "tune/config/text_check.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace tune {
namespace {

// Length of the UTF-8 sequence at `at`, 0 where it is malformed. Overlong forms, surrogates and
// values above U+10FFFF are malformed (Unicode 15, table 3-7).
size_t sequence_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<uint8_t>(text[at + i]) : uint8_t{0};
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  if (first < 0xE0) return continues(1) ? 2 : 0;
  if (!continues(1) || !continues(2)) return 0;
  if (first < 0xF0) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    return overlong || surrogate ? 0 : 3;
  }
  const bool overlong = first == 0xF0 && byte(1) < 0x90;
  const bool too_large = first == 0xF4 && byte(1) > 0x8F;
  return !continues(3) || overlong || too_large ? 0 : 4;
}

bool is_forbidden_control(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return (byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7F;
}

std::string hex_byte(char c) {
  std::array<char, 8> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "0x%02X", static_cast<unsigned>(uint8_t(c)));
  return buffer.data();
}

}  // namespace

std::optional<YamlFault> find_text_fault(std::string_view text) {
  YamlMark mark{1, 1};
  for (size_t at = 0; at < text.size();) {
    const size_t length = sequence_length(text, at);
    if (length == 0) {
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
    } else {
      ++mark.column;
    }
    at += length;
  }
  return std::nullopt;
}

std::string_view skip_byte_order_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return text.substr(0, kMark.size()) == kMark ? text.substr(kMark.size()) : text;
}

}  // namespace tune
