#include "tune/data/data_files.h"

#include <algorithm>
#include <filesystem>

#include "tune/data/sha256.h"
#include "tune/error.h"

namespace tune {
namespace fs = std::filesystem;
namespace {

fs::path locate(const fs::path& path, const Config& config) {
  std::error_code error;
  if (path.is_absolute() || fs::exists(path, error)) return path;
  const fs::path beside = fs::path(config.source_path).parent_path() / path;
  return fs::exists(beside, error) ? beside : path;
}

bool has_json_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".jsonl" || extension == ".json";
}

std::vector<fs::path> files_of_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    throw UsageError("cannot read the folder " + folder.string() + ": " + error.message());
  }
  for (const fs::directory_entry& entry : entries) {
    if (entry.is_regular_file(error) && has_json_name(entry.path())) files.push_back(entry.path());
  }
  if (files.empty()) {
    throw UsageError("the folder " + folder.string() + " has no .jsonl or .json file");
  }
  std::sort(files.begin(), files.end());
  return files;
}

void append_path(const fs::path& path, std::vector<fs::path>& files) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw UsageError("data set " + path.string() +
                     ": no such file or folder; Regard reads local .jsonl and .json files, so a "
                     "data set of a hub is downloaded first and its path written here");
  }
  if (!fs::is_directory(path, error)) {
    files.push_back(path);
    return;
  }
  for (fs::path& file : files_of_folder(path)) files.push_back(std::move(file));
}

std::vector<fs::path> list_files(const DatasetConfig& dataset, const Config& config) {
  std::vector<fs::path> files;
  if (dataset.data_files.empty()) {
    append_path(locate(dataset.path, config), files);
    return files;
  }
  // `path: json` with data_files is how the datasets library spells "these files".
  const fs::path folder = dataset.path == "json" ? fs::path() : locate(dataset.path, config);
  std::error_code error;
  for (const std::string& name : dataset.data_files) {
    const fs::path inside = folder / name;
    append_path(fs::exists(inside, error) ? inside : locate(name, config), files);
  }
  return files;
}

DataFile open_file(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) == 0) {
    throw UsageError(path.string() + ": the file is empty");
  }
  const std::string extension = path.extension().string();
  for (std::string_view other : {".parquet", ".arrow", ".csv", ".gz", ".zst", ".zip"}) {
    if (extension == other) {
      throw UsageError(path.string() + ": " + extension +
                       " files are not read; convert it to JSON lines, one object a line");
    }
  }
  DataFile file{path.string(), MappedFile(path.string()), {}};
  file.sha256 = sha256_hex(file.text());
  return file;
}

}  // namespace

std::string_view DataFile::text() const {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::vector<DataFile> open_data_files(const DatasetConfig& dataset, const Config& config) {
  if (!dataset.ds_type.empty() && dataset.ds_type != "json") {
    throw UsageError("ds_type: \"" + dataset.ds_type + "\" is not read; write json");
  }
  if (!dataset.split.empty() && dataset.split != "train") {
    throw UsageError("split: \"" + dataset.split + "\" of " + dataset.path +
                     ": local files have no splits; leave it out, or name the split's file");
  }
  std::vector<DataFile> files;
  for (const fs::path& path : list_files(dataset, config)) files.push_back(open_file(path));
  return files;
}

}  // namespace tune
