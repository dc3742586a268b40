#include "tune/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "tune/error.h"

namespace tune {
namespace {

// Backtracking steps for one match; a sane pattern needs a few per character of one word. At the
// limit a search takes about a second, then it is refused.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;

// Letters and numbers of Unicode 15 and 16, which Oniguruma knows and PCRE2 10.42 (Unicode 14) does
// not: among them 4 939 Chinese characters. Source: UnicodeData.txt 16.0, categories L* and N*.
#define REGARD_NEW_LETTERS                                                               \
  "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}"       \
  "\\x{10d4a}-\\x{10d65}\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}" \
  "\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}"   \
  "\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}"  \
  "\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"            \
  "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"             \
  "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}"  \
  "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define REGARD_NEW_NUMBERS                                                               \
  "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}" \
  "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}" \
  "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
constexpr std::string_view kSpaceSet = "\\p{Z}\\x{09}-\\x{0d}\\x{85}";
constexpr std::string_view kLetterSet = "\\p{L}" REGARD_NEW_LETTERS;
constexpr std::string_view kNumberSet = "\\p{N}" REGARD_NEW_NUMBERS;
// Oniguruma counts the Latin-1 superscripts and fractions as word characters, other ones not.
constexpr std::string_view kWordSet =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" REGARD_NEW_LETTERS;
#undef REGARD_NEW_LETTERS
#undef REGARD_NEW_NUMBERS

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

void append_set(std::string& out, std::string_view set, bool in_class) {
  out.append(in_class ? "" : "[").append(set).append(in_class ? "" : "]");
}

// Writes what `\escape` means in Oniguruma where PCRE2 would read it otherwise; false when both
// agree. PCRE2's \s has U+180E and its \w lacks marks.
bool append_escape(std::string& out, char escape, bool in_class) {
  switch (escape) {
    case 's':
    case 'w':
      append_set(out, escape == 's' ? kSpaceSet : kWordSet, in_class);
      return true;
    case 'S':
    case 'W':
      if (in_class) return false;
      out.append("[^").append(escape == 'S' ? kSpaceSet : kWordSet).append("]");
      return true;
    case 'h':
      append_set(out, "0-9a-fA-F", in_class);
      return true;
    default:
      return false;
  }
}

std::string from_oniguruma(std::string_view expression) {
  std::string out;
  bool in_class = false;
  size_t class_start = 0;  // a ']' right behind '[' or '[^' stands for itself
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size()) {
      const char escape = expression[++i];
      const std::string_view property = expression.substr(i, 4);
      if (property == "p{L}" || property == "p{N}") {
        append_set(out, property == "p{L}" ? kLetterSet : kNumberSet, in_class);
        i += 3;
      } else if (escape == 'u' && i + 4 < expression.size()) {
        out.append("\\x{").append(expression.substr(i + 1, 4)).append("}");
        i += 4;
      } else if (!append_escape(out, escape, in_class)) {
        out.push_back('\\');
        out.push_back(escape);
      }
      continue;
    }
    if (in_class && expression.substr(i, 2) == "&&") {
      throw UsageError("regular expression '" + std::string(expression) +
                       "': the intersection '&&' inside [...] is not supported; write it as a "
                       "look-ahead, (?=[a])[b]");
    }
    if (c == '[' && !in_class) {
      in_class = true;
      class_start = expression.substr(i + 1, 1) == "^" ? i + 2 : i + 1;
    } else if (c == ']' && i != class_start) {
      in_class = false;
    }
    out.push_back(c);
  }
  return out;
}

struct MatchState {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  explicit MatchState(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)) {
    if (data == nullptr || context == nullptr) {
      pcre2_match_data_free(data);
      pcre2_match_context_free(context);
      throw Error("out of memory while splitting text");
    }
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
  }
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

}  // namespace

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  Compiled() = default;
  ~Compiled() { pcre2_code_free(code); }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  bool match(std::string_view text, size_t start, MatchState& state,
             const std::string& expression) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto run = [&](uint32_t options) {
      return pcre2_match(code, subject, text.size(), start, options | PCRE2_NO_UTF_CHECK,
                         state.data, state.context);
    };
    int rc = run(0);
    // The interpreter keeps its state on the heap and has no such limit.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = run(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      throw Error("regular expression '" + expression + "' gave up at byte " +
                  std::to_string(start) + " of a text of " + std::to_string(text.size()) +
                  " bytes: " + pcre2_message(rc));
    }
    return true;
  }
};

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.text_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(std::string expression) {
  const std::string translated = from_oniguruma(expression);
  auto compiled = std::make_unique<Compiled>();
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ always stand at lines.
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &code, &offset, nullptr);
  if (compiled->code == nullptr) {
    throw UsageError("regular expression '" + expression + "': " + pcre2_message(code) + " (byte " +
                     std::to_string(offset) + " of '" + translated + "')");
  }
  // Where there is no JIT the interpreter serves; the result is the same.
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);
  Pattern pattern;
  pattern.text_ = std::move(expression);
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

std::vector<Span> Pattern::find_all(std::string_view text) const {
  std::vector<Span> out;
  find_all(text, out);
  return out;
}

void Pattern::find_all(std::string_view text, std::vector<Span>& out) const {
  out.clear();
  size_t pos = 0;
  if (compiled_ == nullptr) {
    if (text_.empty()) return;
    while ((pos = text.find(text_, pos)) != std::string_view::npos) {
      out.push_back({pos, pos + text_.size()});
      pos += text_.size();
    }
    return;
  }
  MatchState state(compiled_->code);
  while (pos < text.size() && compiled_->match(text, pos, state, text_)) {
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state.data);
    const size_t begin = span[0], end = span[1];
    if (end > begin) {
      out.push_back({begin, end});
      pos = end;
      continue;
    }
    pos = begin + 1;  // an empty match: on to the next character
    while (pos < text.size() && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) ++pos;
  }
}

}  // namespace tune
