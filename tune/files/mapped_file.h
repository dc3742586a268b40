// MappedFile: a whole file, read-only, in memory by mmap.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace tune {

class MappedFile {
 public:
  // Throws tune::Error naming path and cause: missing, a folder, empty, no permission.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tune
