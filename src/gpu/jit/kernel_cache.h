// Compiled kernels on disk, shared by all processes of a user.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace regard::gpu {

struct CompiledKernel {
  std::string cubin;
  std::string log;  // the compiler's words: registers, spills, warnings
};

// One file an entry, named by a hash of its key: everything that decides what the compiler makes.
// The key stands in the file word for word and the contents have a checksum, so that neither two
// keys of one hash nor a torn or foreign file is ever taken for a kernel. Files are written aside
// and renamed: any number of processes may use the folder at once.
class KernelCache {
 public:
  // Uses `folder`/kernels, made with mode 0700. Without a folder, or where it cannot be had or
  // belongs to somebody else, the cache finds and stores nothing.
  explicit KernelCache(const std::filesystem::path& folder);

  bool is_usable() const { return !folder_.empty(); }
  std::filesystem::path file_of(const std::string& key) const;

  // What is unreadable, damaged, or owned by another user is a miss.
  std::optional<CompiledKernel> find(const std::string& key) const;

  // Failing to store (a full disk) is no failure of the call.
  void store(const std::string& key, const CompiledKernel& kernel) const;

 private:
  std::filesystem::path folder_;
};

// The one in the settings' cache folder.
const KernelCache& user_cache();

}  // namespace regard::gpu
