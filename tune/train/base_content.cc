#include "tune/train/base_content.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <vector>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/model_source.h"
#include "tune/train/crc32.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kHeadBytes = 1 << 20, kBlockBytes = 4096, kNumBlocks = 1024;

class ReadableFile {
 public:
  explicit ReadableFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail();
  }
  ~ReadableFile() { ::close(fd_); }
  ReadableFile(const ReadableFile&) = delete;
  ReadableFile& operator=(const ReadableFile&) = delete;

  // Continues `crc` over `size` bytes from `offset`; a file that has become shorter ends earlier.
  uint32_t checksum(uint32_t crc, uint64_t offset, uint64_t size) {
    buffer_.resize(size);
    uint64_t done = 0;
    while (done < size) {
      const ssize_t count =
          ::pread(fd_, buffer_.data() + done, size - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail();
      if (count == 0) break;
      done += static_cast<uint64_t>(count);
    }
    return crc32(crc, std::as_bytes(std::span(buffer_.data(), done)));
  }

 private:
  [[noreturn]] void fail() const {
    throw Error("cannot read " + path_ + ": " + std::strerror(errno));
  }

  std::string path_;
  int fd_;
  std::vector<char> buffer_;
};

uint32_t add_file(uint32_t crc, const std::string& path, uint64_t size) {
  ReadableFile file(path);
  crc = crc32(crc, std::as_bytes(std::span(&size, 1)));
  if (size <= kHeadBytes + kNumBlocks * kBlockBytes) return file.checksum(crc, 0, size);
  crc = file.checksum(crc, 0, kHeadBytes);
  // The distance is rounded up, so that the last block is pulled back to the last bytes.
  const uint64_t distance = (size - kHeadBytes + kNumBlocks - 1) / kNumBlocks;
  for (uint64_t block = 0; block < kNumBlocks; ++block) {
    const uint64_t offset = kHeadBytes + (block + 1) * distance - kBlockBytes;
    crc = file.checksum(crc, std::min(offset, size - kBlockBytes), kBlockBytes);
  }
  return crc;
}

// The names of the weights' files as the loader takes them: one file, or the index and its shards.
// Other files of the folder (an adapter, the original checkpoint) are no part of the model.
std::set<std::string> weight_files(const std::string& folder) {
  const std::string single = "model.safetensors", index = single + ".index.json";
  if (fs::exists(fs::path(folder) / single)) return {single};
  if (!fs::exists(fs::path(folder) / index)) return {};
  std::set<std::string> names = {index};
  const json text = json::parse(read_file(folder + "/" + index), nullptr, false);
  if (!text.is_object() || !text.contains("weight_map")) return names;
  for (const json& shard : text["weight_map"])
    if (shard.is_string()) names.insert(shard.get<std::string>());
  return names;
}

std::vector<std::string> files_of(const std::string& location) {
  if (!fs::is_directory(location)) return {location};
  std::vector<std::string> files = {location + "/config.json"};
  for (const std::string& name : weight_files(location)) files.push_back(location + "/" + name);
  return files;
}

}  // namespace

std::string base_model_content(const std::string& base_model) {
  std::string location;
  try {
    location = locate_model(base_model);
  } catch (const UsageError&) {
    return "not found";
  }
  uint64_t num_bytes = 0;
  uint32_t crc = 0;
  const std::vector<std::string> files = files_of(location);
  for (const std::string& path : files) {
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    if (error) throw Error("cannot read " + path + ": " + error.message());
    num_bytes += size;
    crc = add_file(crc, path, size);
  }
  char text[80];
  std::snprintf(text, sizeof(text), "%zu file%s, %llu bytes, checksum %08x", files.size(),
                files.size() == 1 ? "" : "s", static_cast<unsigned long long>(num_bytes), crc);
  return text;
}

}  // namespace tune
