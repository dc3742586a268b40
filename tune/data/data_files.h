// The files behind a `datasets` entry, mapped into memory.
#pragma once

#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/files/mapped_file.h"

namespace tune {

struct DataFile {
  std::string path;
  MappedFile file;
  std::string sha256;  // of the content

  std::string_view text() const;
};

// Files in a fixed order: as data_files lists them, or a folder's .jsonl and .json files by name. A
// relative path that does not exist is also looked for beside the configuration file. Throws
// UsageError naming the path and what was expected there.
std::vector<DataFile> open_data_files(const DatasetConfig& dataset, const Config& config);

}  // namespace tune
