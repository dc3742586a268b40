// SHA-256 (FIPS 180-4), for the names and checksums of prepared data. Written here because 70 lines
// are lighter than a dependency on a cryptography library, and nothing secret depends on it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tune {

class Sha256 {
 public:
  void update(std::string_view bytes);
  // 64 hexadecimal digits; the object is used up by it.
  std::string hex_digest();

 private:
  void compress(const unsigned char* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> buffer_{};
  size_t buffered_ = 0;
  uint64_t num_bytes_ = 0;
};

std::string sha256_hex(std::string_view bytes);

}  // namespace tune
