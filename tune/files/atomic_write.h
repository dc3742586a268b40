// Files and folders that appear whole or not at all, kill -9 and full disks included.
//
// A file is written as path.PID-N.regard-tmp (the process, and its N-th file), synced, renamed;
// then its folder is synced. Two writers of one file never share a name, so the file is whole
// whoever comes last. TMP and OLD stand for path.regard-tmp and path.regard-old of a folder `path`,
// which has one writer at a time. A folder is filled as TMP and put in place by one exchange of
// names (Linux renameat2), so that at every moment `path` is the whole old folder or the whole new
// one. A file system without that exchange needs two renames: path -> OLD, TMP -> path. Killed
// between the two, OLD is the good one, and recover_folder puts it back; whoever reads such folders
// calls it first. Names ending in .regard-tmp or .regard-old are never results.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace tune {

// Writes `path` aside, syncs it and its folder, renames. Throws tune::Error naming path and cause
// (disk full, no permission, ...); what was at `path` is then unchanged.
void write_file_atomically(const std::string& path, std::string_view content);

// Calls fill(temporary folder beside `folder`), syncs everything in it, then renames it to
// `folder` (replacing a folder that is there, with all it holds). When fill throws, the temporary
// folder is removed and `folder` is as it was. Parents of `folder` are created.
void write_folder_atomically(const std::string& folder,
                             const std::function<void(const std::string&)>& fill);

// Cleans up after a replacement of `folder` that was killed: puts OLD back when `folder` is
// missing, removes it when the new folder is in place, removes TMP. Does nothing otherwise.
// Not for a folder that another process is writing.
void recover_folder(const std::string& folder);

// How write_folder_atomically puts a filled folder in place. `try_exchange` false forces the two
// renames of file systems without an exchange.
void replace_folder(const std::string& fresh, const std::string& path, bool try_exchange = true);

// Removes the files in `folder` (not below it) that a killed write_file_atomically left
// half-written. Those of a process that lives are left alone; so is what cannot be removed, which
// is harmless.
void remove_unfinished_files(const std::string& folder);

// A file under way: bytes go to a file aside until commit() syncs it and renames it to `path`.
// Destroyed without commit, nothing is left of it.
class FileAside {
 public:
  explicit FileAside(const std::string& path);
  ~FileAside();
  FileAside(const FileAside&) = delete;
  FileAside& operator=(const FileAside&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  std::string path_, aside_;
  int fd_ = -1;
};

std::string read_file(const std::string& path);  // throws tune::Error naming path and cause

}  // namespace tune
