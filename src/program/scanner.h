// The text of a program, token by token, and the first fault in it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "regard/program.h"

namespace regard::program {

inline bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  const std::optional<ProgramFault>& fault() const { return fault_; }

  // The first fault counts; after it nothing is left of the text, so that every rule ends.
  void set_fault(size_t at, std::string message) {
    if (!fault_) {
      fault_ = ProgramFault{at + 1, std::move(message)};
    }
    at_ = text_.size();
  }

  std::string found() const {
    if (at_ >= text_.size()) return "the end of the program";
    const size_t length = is_letter(text_[at_]) ? name_length() : 1;
    return std::string("'").append(text_.substr(at_, length)).append("'");
  }

  size_t name_length() const {
    size_t end = at_;
    while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
    return end - at_;
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool accept(std::string_view token) {
    skip_blanks();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  bool expect(std::string_view token) {
    if (accept(token)) return true;
    set_fault(at_, std::string("expected '").append(token).append("', found ").append(found()));
    return false;
  }

 protected:
  std::string_view text_;
  size_t at_ = 0;
  std::optional<ProgramFault> fault_;
};

}  // namespace regard::program
