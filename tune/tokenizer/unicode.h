// What tokenizers need of Unicode: UTF-8, normal forms, lower case and a few character classes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tune {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// The character that starts at text[pos]; moves pos behind it. `text` must be valid UTF-8.
char32_t next_character(std::string_view text, size_t& pos);
// The character that ends at text[pos - 1]; moves pos to its start. pos must not be 0.
char32_t previous_character(std::string_view text, size_t& pos);
void append_character(std::string& out, char32_t character);

bool is_valid_utf8(std::string_view bytes);
// Every maximal invalid part becomes one U+FFFD (The Unicode Standard, section 3.9, "U+FFFD
// Substitution of Maximal Subparts"), as Python's errors="replace" and Rust's from_utf8_lossy do.
std::string to_valid_utf8(std::string_view bytes);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
// Linear in the length of the text but for the sorting of runs of combining marks, n log n.
std::string normalize_text(std::string_view text, NormalForm form);
// Full lower case of each character by itself (no final sigma).
std::string lower_case(std::string_view text);

bool is_whitespace(char32_t character);   // property White_Space
bool is_numeric(char32_t character);      // categories Nd, Nl, No
bool is_punctuation(char32_t character);  // ASCII punctuation and symbols, and categories P*
bool is_word(char32_t character);         // letters, marks, decimal digits, connectors

}  // namespace tune
