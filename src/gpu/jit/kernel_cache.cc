#include "gpu/jit/kernel_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "gpu/settings.h"

namespace regard::gpu {
namespace {

namespace fs = std::filesystem;

constexpr char kHeader[] = "regard kernel 1 %016" PRIx64 " %zu %zu %zu\n";
constexpr size_t kMostHeaderBytes = 128;

// FNV-1a, 64 bits.
uint64_t hash_of(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  return hash;
}

// A file descriptor that is closed at the end.
class OpenFile {
 public:
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  ~OpenFile() {
    if (is_open()) {
      ::close(descriptor_);
    }
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  bool is_open() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

bool is_private_folder(const fs::path& folder) {
  struct stat status = {};
  return ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == ::geteuid() && (status.st_mode & 077) == 0;
}

// Whether nobody but this user can have written the open file.
bool is_own_file(int descriptor) {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
         status.st_uid == ::geteuid() && (status.st_mode & 022) == 0;
}

std::string read_all(int descriptor) {
  std::string bytes;
  char buffer[65536];
  for (ssize_t count = 0; (count = ::read(descriptor, buffer, sizeof(buffer))) > 0;) {
    bytes.append(buffer, static_cast<size_t>(count));
  }
  return bytes;
}

bool write_all(int descriptor, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::write(descriptor, bytes.data() + done, bytes.size() - done);
    if (count <= 0) {
      return false;
    }
    done += static_cast<size_t>(count);
  }
  return true;
}

std::string entry_of(const std::string& key, const CompiledKernel& kernel) {
  const std::string contents = key + kernel.log + kernel.cubin;
  char header[kMostHeaderBytes];
  std::snprintf(header, sizeof(header), kHeader, hash_of(contents), key.size(), kernel.log.size(),
                kernel.cubin.size());
  return header + contents;
}

std::optional<CompiledKernel> kernel_of(const std::string& entry, const std::string& key) {
  const size_t end = entry.find('\n');
  uint64_t hash = 0;
  size_t key_bytes = 0, log_bytes = 0, cubin_bytes = 0;
  if (end == std::string::npos || end >= kMostHeaderBytes ||
      std::sscanf(entry.substr(0, end + 1).c_str(), "regard kernel 1 %16" SCNx64 " %zu %zu %zu",
                  &hash, &key_bytes, &log_bytes, &cubin_bytes) != 4) {
    return std::nullopt;
  }
  const std::string contents = entry.substr(end + 1);
  if (contents.size() != key_bytes + log_bytes + cubin_bytes || hash_of(contents) != hash ||
      contents.compare(0, key_bytes, key) != 0 || cubin_bytes == 0) {
    return std::nullopt;
  }
  return CompiledKernel{.cubin = contents.substr(key_bytes + log_bytes),
                        .log = contents.substr(key_bytes, log_bytes)};
}

}  // namespace

KernelCache::KernelCache(const fs::path& folder) {
  if (folder.empty()) {
    return;
  }
  const fs::path kernels = folder / "kernels";
  std::error_code error;
  fs::create_directories(folder, error);
  ::mkdir(kernels.c_str(), 0700);  // what counts is whether it is there and private
  if (is_private_folder(kernels) && ::access(kernels.c_str(), W_OK | X_OK) == 0) {
    folder_ = kernels;
  }
}

fs::path KernelCache::file_of(const std::string& key) const {
  char name[32];
  std::snprintf(name, sizeof(name), "%016" PRIx64 ".kernel", hash_of(key));
  return folder_ / name;
}

std::optional<CompiledKernel> KernelCache::find(const std::string& key) const {
  if (!is_usable()) {
    return std::nullopt;
  }
  // Not blocking: somebody may have put a pipe there.
  const OpenFile file(::open(file_of(key).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open() || !is_own_file(file.get())) {
    return std::nullopt;
  }
  return kernel_of(read_all(file.get()), key);
}

void KernelCache::store(const std::string& key, const CompiledKernel& kernel) const {
  if (!is_usable()) {
    return;
  }
  const fs::path file = file_of(key);
  std::string aside = file.string() + ".XXXXXX";
  bool is_written = false;
  {
    const OpenFile out(::mkostemp(aside.data(), O_CLOEXEC));  // mode 0600
    if (!out.is_open()) {
      return;
    }
    is_written = write_all(out.get(), entry_of(key, kernel));
  }
  if (!is_written || ::rename(aside.c_str(), file.c_str()) != 0) {
    ::unlink(aside.c_str());
  }
}

const KernelCache& user_cache() {
  static const KernelCache cache(settings().cache_folder);
  return cache;
}

}  // namespace regard::gpu
