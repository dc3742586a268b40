// Where a base model lies: a folder, a GGUF file, or a Hub name in the local Hugging Face cache.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/model_config_check.h"
#include "tune/files/model_source.h"

namespace tune {
namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_there(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string with_home(const std::string& path) {
  if (!path.starts_with("~/")) return path;
  const std::string home = environment("HOME");
  return home.empty() ? path : home + path.substr(1);
}

// As huggingface_hub decides it.
std::string hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string value = environment(name); !value.empty()) return with_home(value);
  }
  if (const std::string home = environment("HF_HOME"); !home.empty()) {
    return with_home(home) + "/hub";
  }
  const std::string cache = environment("XDG_CACHE_HOME");
  return (cache.empty() ? with_home("~/.cache") : with_home(cache)) + "/huggingface/hub";
}

// "org/model" or "model", of letters, digits, '-', '_' and '.'; not a path.
bool is_hub_name(const std::string& name) {
  const auto is_allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_allowed) &&
         std::count(name.begin(), name.end(), '/') <= 1 && name.front() != '/' &&
         name.back() != '/' && name.front() != '.' && name.find("..") == std::string::npos;
}

std::vector<std::string> entries(const std::string& folder, std::string_view ending) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(ending)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string how_to_get(const std::string& name) {
  return "download it with `hf download " + name +
         "` (Python package huggingface_hub), or write the path of a folder with config.json and "
         "*.safetensors or of a .gguf file; architectures: " +
         architecture_list();
}

std::string check_folder(const std::string& folder, const std::string& base_model) {
  if (is_there(folder + "/config.json")) return folder;
  const auto ggufs = entries(folder, ".gguf");
  if (!ggufs.empty()) {
    throw UsageError("base_model " + base_model +
                     ": the folder has no config.json, but a GGUF file; write its path: " + folder +
                     "/" + ggufs.front());
  }
  if (is_there(folder + "/adapter_config.json")) {
    throw UsageError("base_model " + base_model +
                     ": this folder holds an adapter (adapter_config.json), not a model; write the "
                     "model that it was trained on");
  }
  throw UsageError("base_model " + base_model + ": the folder " + folder +
                   " has no config.json; a Hugging Face model folder has config.json and "
                   "*.safetensors. Architectures: " +
                   architecture_list());
}

std::string check_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, 4);
  if (std::string_view(magic, 4) == "GGUF" || path.ends_with(".gguf")) return path;
  throw UsageError("base_model " + path +
                   ": the file is not GGUF (it does not begin with the letters GGUF); write the "
                   "path of a .gguf file, or of a folder with config.json and *.safetensors");
}

// The snapshot that refs/main names, or the only one.
std::optional<std::string> find_snapshot(const std::string& repo) {
  const std::string ref = repo + "/refs/main";
  if (is_there(ref) && !is_folder(ref)) {
    std::string revision = read_file(ref);
    while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back())) != 0) {
      revision.pop_back();
    }
    const std::string snapshot = repo + "/snapshots/" + revision;
    const bool is_name =
        !revision.empty() && revision.find('/') == std::string::npos && revision.front() != '.';
    if (is_name && is_folder(snapshot)) return snapshot;
    return std::nullopt;
  }
  const auto snapshots = entries(repo + "/snapshots", "");
  if (snapshots.size() != 1) return std::nullopt;
  return repo + "/snapshots/" + snapshots.front();
}

std::string locate_in_cache(const std::string& name) {
  std::string folder = "models--" + name;
  if (const size_t slash = folder.find('/'); slash != std::string::npos) {
    folder.replace(slash, 1, "--");
  }
  const std::string cache = hub_cache();
  const std::string repo = cache + "/" + folder;
  if (!is_folder(repo)) {
    throw UsageError(
        "base_model " + name +
        " is neither a folder, nor a GGUF file, nor a model in the Hugging Face cache " + cache +
        "; " + how_to_get(name));
  }
  const auto snapshot = find_snapshot(repo);
  if (!snapshot) {
    throw UsageError("base_model " + name + ": its download in " + repo +
                     " is not complete (refs/main names no snapshot); " + how_to_get(name));
  }
  return check_folder(*snapshot, name);
}

}  // namespace

std::string locate_model(const std::string& base_model) {
  if (base_model.empty()) throw UsageError("base_model is empty; " + how_to_get("ORG/MODEL"));
  const std::string path = with_home(base_model);
  if (is_folder(path)) return check_folder(path, base_model);
  if (is_there(path)) return check_file(path);
  if (is_hub_name(base_model) && !base_model.ends_with(".gguf")) return locate_in_cache(base_model);
  throw UsageError("base_model " + base_model + ": no such file or folder; " +
                   how_to_get("ORG/MODEL"));
}

}  // namespace tune
