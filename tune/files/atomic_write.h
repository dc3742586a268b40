// Files and folders that appear whole or not at all.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace tune {

// Writes `path` aside, syncs it and its folder, renames. Throws tune::Error naming path and cause
// (disk full, ...).
void write_file_atomically(const std::string& path, std::string_view content);

// Calls fill(temporary folder beside `path`), syncs everything in it, then renames it to `path`
// (replacing a folder that is there). When fill throws, the temporary folder is removed and `path`
// is as it was.
void write_folder_atomically(const std::string& path,
                             const std::function<void(const std::string&)>& fill);

std::string read_file(const std::string& path);  // throws tune::Error naming path and cause

}  // namespace tune
