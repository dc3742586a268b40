// Pattern: what a tokenizer.json searches for, a literal text or a regular expression.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

struct Span {
  size_t begin = 0, end = 0;
};

// Regular expressions are written for Oniguruma (Ruby's syntax) and run on PCRE2 with Unicode
// properties; `\s` and `\w` are given Oniguruma's meaning. Immutable, so threads may share it.
class Pattern {
 public:
  static Pattern literal(std::string text);
  // Throws UsageError with the expression, the reason and its place.
  static Pattern regex(std::string expression);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // All matches from left to right, never overlapping; empty matches are left out. `text` must be
  // valid UTF-8. Throws tune::Error when the expression exceeds its match limit on this text.
  std::vector<Span> find_all(std::string_view text) const;
  void find_all(std::string_view text, std::vector<Span>& out) const;

 private:
  struct Compiled;
  Pattern() = default;

  std::string text_;
  std::unique_ptr<const Compiled> compiled_;  // null for a literal
};

}  // namespace tune
