// CRC-32 as zlib, gzip and Python's zlib.crc32 compute it (polynomial 0xEDB88320, reflected).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tune {

// Continues `crc` (0 at the start) over more bytes.
uint32_t crc32(uint32_t crc, std::span<const std::byte> bytes);

// Of a whole file. Throws tune::Error when it cannot be read.
uint32_t file_crc32(const std::string& path);

}  // namespace tune
