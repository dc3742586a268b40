#include "tune/tokenizer/byte_alphabet.h"

#include <array>

#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

constexpr char32_t kAlphabetEnd = 0x144;  // 256 + 68

struct Alphabet {
  std::array<std::string, 256> of_byte;
  std::array<int, kAlphabetEnd> to_byte;
  Alphabet() {
    to_byte.fill(-1);
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool prints =
          (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const char32_t character = prints ? byte : next++;
      append_character(of_byte[byte], character);
      to_byte[character] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

void append_byte_as_alphabet(std::string& out, unsigned char byte) {
  out.append(alphabet().of_byte[byte]);
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_byte_as_alphabet(out, static_cast<unsigned char>(byte));
  return out;
}

void append_alphabet_as_bytes(std::string& out, std::string_view token) {
  const size_t start = out.size();
  size_t pos = 0;
  while (pos < token.size()) {
    const char32_t character = next_character(token, pos);
    const int byte = character < kAlphabetEnd ? alphabet().to_byte[character] : -1;
    if (byte < 0) {
      out.resize(start);
      out.append(token);
      return;
    }
    out.push_back(static_cast<char>(byte));
  }
}

}  // namespace tune
