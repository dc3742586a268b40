#include "tune/files/atomic_write.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "tune/error.h"

namespace tune {
namespace {

namespace fs = std::filesystem;

// Ours alone: a user's own results.old or results.tmp beside the results must never be removed.
constexpr const char* kAside = ".regard-tmp";
constexpr const char* kOld = ".regard-old";

std::string cause_text(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "the disk is full; free space and run again";
    case EFBIG:
      return "the file would be larger than the file system or `ulimit -f` allows";
    case EACCES:
    case EPERM:
      return "permission denied; choose a folder you may write to";
    case EROFS:
      return "the file system is read-only; choose another folder";
    default:
      return std::strerror(error);
  }
}

// Creates a file beside `path` that no other writer has; its name goes to `aside`. -1 with errno.
int create_aside(const std::string& path, std::string& aside) {
  static std::atomic<uint64_t> num_created{0};
  // Only what a killed process of the same number left makes a name taken; the next one is free
  // sooner or later.
  for (;;) {
    aside = path + "." + std::to_string(::getpid()) + "-" + std::to_string(num_created++) + kAside;
    const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
}

// The process that writes a file aside, of the name without suffix ("config.yml.1234-0"); 0 when
// the name says none.
pid_t writer_of(const std::string& name) {
  const std::string digits = name.substr(name.rfind('.') + 1);
  pid_t writer = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, writer);
  return error == std::errc() && stop != end && *stop == '-' && writer > 0 ? writer : 0;
}

bool is_alive(pid_t process) { return ::kill(process, 0) == 0 || errno == EPERM; }

[[noreturn]] void fail_write(const std::string& path, int error) {
  throw Error("cannot write " + path + ": " + cause_text(error));
}

// std::filesystem is called with an error code throughout: its own exceptions are not ours.
void check(const std::error_code& error, const std::string& path) {
  if (error) fail_write(path, error.value());
}

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void sync_path(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_write(path, errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // EINVAL: a file system that cannot sync a folder; there is nothing more to do there.
  if (error != 0 && error != EINVAL) fail_write(path, error);
}

void sync_tree(const std::string& folder) {
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    check(error, it->path().string());
    if (fs::is_regular_file(status) || fs::is_directory(status)) sync_path(it->path().string());
  }
  check(error, folder);
  sync_path(folder);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  check(error, path);
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

void rename_or_fail(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_write(to, errno);
}

// By number: glibc has no wrapper before 2.28.
bool exchange_names(const std::string& a, const std::string& b) {
  return ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

}  // namespace

FileAside::FileAside(const std::string& path) : path_(path) {
  std::error_code error;
  if (fs::is_directory(path_, error)) {
    throw Error("cannot write " + path_ + ": a folder of this name is there");
  }
  fd_ = create_aside(path_, aside_);
  if (fd_ >= 0) return;
  if (errno == ENOENT) {
    throw Error("cannot write " + path_ + ": the folder " + parent_of(path_) + " does not exist");
  }
  fail_write(path_, errno);
}

FileAside::~FileAside() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(aside_.c_str());
}

void FileAside::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(path_, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void FileAside::commit() {
  if (::fsync(fd_) != 0) fail_write(path_, errno);
  rename_or_fail(aside_, path_);
  // Renamed: from here on there is nothing aside to remove. Network file systems report a full disk
  // as late as this.
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) fail_write(path_, errno);
  sync_path(parent_of(path_));
}

void write_file_atomically(const std::string& path, std::string_view content) {
  FileAside file(path);
  file.write(content);
  file.commit();
}

void remove_unfinished_files(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;
    if (path.extension() != kAside || !entry->is_regular_file(ignored)) continue;
    const pid_t writer = writer_of(path.stem().string());
    if (writer == 0 || !is_alive(writer)) fs::remove(path, ignored);
  }
}

void replace_folder(const std::string& fresh, const std::string& path, bool try_exchange) {
  if (!exists(path)) {
    rename_or_fail(fresh, path);
    sync_path(parent_of(path));
    return;
  }
  if (try_exchange && exchange_names(fresh, path)) {
    sync_path(parent_of(path));
    remove_tree(fresh);  // the old one, under the new one's former name
    return;
  }
  // The order of the two renames must reach the disk, or a crash could keep only the first.
  const std::string old = path + kOld;
  remove_tree(old);
  rename_or_fail(path, old);
  if (std::rename(fresh.c_str(), path.c_str()) != 0) {
    const int cause = errno;
    rename_or_fail(old, path);
    fail_write(path, cause);
  }
  sync_path(parent_of(path));
  remove_tree(old);
}

void recover_folder(const std::string& folder) {
  const std::string path = without_trailing_slash(folder);
  const std::string old = path + kOld, fresh = path + kAside;
  if (exists(old) && !exists(path)) {
    rename_or_fail(old, path);
    sync_path(parent_of(path));
  } else if (exists(old)) {
    remove_tree(old);
  }
  if (exists(fresh)) remove_tree(fresh);
}

void write_folder_atomically(const std::string& folder,
                             const std::function<void(const std::string&)>& fill) {
  const std::string path = without_trailing_slash(folder);
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_directory(path, error)) {
    throw Error("cannot write folder " + path + ": a file of this name is there");
  }
  fs::create_directories(parent_of(path), error);
  check(error, parent_of(path));
  recover_folder(path);
  const std::string fresh = path + kAside;
  fs::create_directory(fresh, error);
  check(error, fresh);
  try {
    fill(fresh);
    sync_tree(fresh);
    replace_folder(fresh, path);
  } catch (...) {
    fs::remove_all(fresh, error);  // the first failure is the one to report
    throw;
  }
}

std::string read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error("cannot read " + path + ": " + std::strerror(errno));
  std::string content;
  char buffer[1 << 16];
  ssize_t count = 0;
  while ((count = ::read(fd, buffer, sizeof(buffer))) != 0) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    content.append(buffer, static_cast<size_t>(count));
  }
  const int error = errno;
  ::close(fd);
  if (count < 0) throw Error("cannot read " + path + ": " + std::strerror(error));
  return content;
}

}  // namespace tune
