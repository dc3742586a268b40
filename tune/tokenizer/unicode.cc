#include "tune/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tune/error.h"

namespace tune {
namespace {

unsigned char byte_at(std::string_view text, size_t pos) {
  return static_cast<unsigned char>(text[pos]);
}

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Bytes that the lead byte of a character announces; 0 for a byte that cannot lead.
size_t announced_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF (The Unicode
// Standard, table 3-7).
bool second_byte_fits(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return is_continuation(second);
  }
}

// Length of the well-formed start of a character at `pos`, and whether the character is whole.
struct Part {
  size_t length = 0;
  bool whole = false;
};

Part part_at(std::string_view text, size_t pos) {
  const unsigned char lead = byte_at(text, pos);
  const size_t wanted = announced_length(lead);
  if (wanted <= 1) return {1, wanted == 1};
  for (size_t i = 1; i < wanted; ++i) {
    if (pos + i >= text.size()) return {i, false};
    const unsigned char byte = byte_at(text, pos + i);
    if (!(i == 1 ? second_byte_fits(lead, byte) : is_continuation(byte))) return {i, false};
  }
  return {wanted, true};
}

bool all_below(std::string_view text, unsigned char limit) {
  return std::all_of(text.begin(), text.end(),
                     [limit](char c) { return static_cast<unsigned char>(c) < limit; });
}

// The full decomposition, without the ordering of combining marks.
std::vector<utf8proc_int32_t> decompose(std::string_view text, bool compatibility) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition, U+FDFA, has 18
  size_t pos = 0;
  while (pos < text.size()) {
    const auto character = static_cast<utf8proc_int32_t>(next_character(text, pos));
    int boundary_class = 0;
    const auto count = utf8proc_decompose_char(character, parts.data(),
                                               static_cast<utf8proc_ssize_t>(parts.size()), options,
                                               &boundary_class);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      out.push_back(character);
    } else {
      out.insert(out.end(), parts.begin(), parts.begin() + count);
    }
  }
  return out;
}

// Sorting each run of marks keeps a text of nothing but marks at n log n; utf8proc's own ordering
// is an insertion sort.
void order_marks(std::vector<utf8proc_int32_t>& characters) {
  const auto mark_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  auto run = characters.begin();
  while (run != characters.end()) {
    if (mark_class(*run) == 0) {
      ++run;
      continue;
    }
    const auto end =
        std::find_if(run, characters.end(), [&](utf8proc_int32_t c) { return mark_class(c) == 0; });
    std::stable_sort(run, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) {
      return mark_class(a) < mark_class(b);
    });
    run = end;
  }
}

}  // namespace

char32_t next_character(std::string_view text, size_t& pos) {
  const unsigned char lead = byte_at(text, pos);
  const size_t length = std::min(std::max<size_t>(announced_length(lead), 1), text.size() - pos);
  char32_t character = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    character = character << 6 | (byte_at(text, pos + i) & 0x3Fu);
  }
  pos += length;
  return character;
}

char32_t previous_character(std::string_view text, size_t& pos) {
  --pos;
  while (pos > 0 && is_continuation(byte_at(text, pos))) --pos;
  size_t start = pos;
  return next_character(text, start);
}

void append_character(std::string& out, char32_t character) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | (character >> shift & 0x3F)));
  };
  if (character < 0x80) {
    out.push_back(static_cast<char>(character));
  } else if (character < 0x800) {
    out.push_back(static_cast<char>(0xC0 | character >> 6));
    tail(0);
  } else if (character < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | character >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | character >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_valid_utf8(std::string_view bytes) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    if (byte_at(bytes, pos) < 0x80) {
      ++pos;
      continue;
    }
    const Part part = part_at(bytes, pos);
    if (!part.whole) return false;
    pos += part.length;
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  size_t pos = 0;
  while (pos < bytes.size()) {
    const Part part = part_at(bytes, pos);
    if (part.whole) {
      out.append(bytes.substr(pos, part.length));
    } else {
      append_character(out, kReplacementCharacter);
    }
    pos += part.length;
  }
  return out;
}

std::string normalize_text(std::string_view text, NormalForm form) {
  const bool composes = form == NormalForm::nfc || form == NormalForm::nfkc;
  const bool compatibility = form == NormalForm::nfkc || form == NormalForm::nfkd;
  // Everything below U+0300 (lead bytes below 0xCC) is its own NFC; for the others ASCII is.
  if (all_below(text, form == NormalForm::nfc ? 0xCC : 0x80)) return std::string(text);
  std::vector<utf8proc_int32_t> characters = decompose(text, compatibility);
  order_marks(characters);
  auto count = static_cast<utf8proc_ssize_t>(characters.size());
  if (composes) {
    count = utf8proc_normalize_utf32(
        characters.data(), count,
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (count < 0) throw Error(std::string("Unicode normalisation: ") + utf8proc_errmsg(count));
  }
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_character(out, static_cast<char32_t>(characters[static_cast<size_t>(i)]));
  }
  return out;
}

std::string lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t pos = 0;
  while (pos < text.size()) {
    const char32_t character = next_character(text, pos);
    if (character == 0x130) {  // the only character whose lower case has two: i and a dot above
      out.append("i\xCC\x87");
    } else {
      append_character(
          out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character))));
    }
  }
  return out;
}

bool is_whitespace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t character) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(character));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool is_word(char32_t character) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(character))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // ZWNJ and ZWJ join words; circled letters count as letters
      return character == 0x200C || character == 0x200D ||
             (character >= 0x24B6 && character <= 0x24E9) ||
             (character >= 0x1F130 && character <= 0x1F149) ||
             (character >= 0x1F150 && character <= 0x1F169) ||
             (character >= 0x1F170 && character <= 0x1F189);
  }
}

}  // namespace tune
