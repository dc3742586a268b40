// GPT-2's alphabet: each of the 256 bytes as a printable character, so that BPE sees text.
// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", encoder.py.
#pragma once

#include <string>
#include <string_view>

namespace tune {

// Bytes 33-126, 161-172 and 174-255 stand for themselves (as Latin-1), the other 68 are U+0100 ...
std::string bytes_to_alphabet(std::string_view bytes);
void append_byte_as_alphabet(std::string& out, unsigned char byte);
// Appends the bytes of `token`; a token with a character outside the alphabet is appended as it is.
void append_alphabet_as_bytes(std::string& out, std::string_view token);

}  // namespace tune
