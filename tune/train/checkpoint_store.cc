#include "tune/train/checkpoint_store.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/train/crc32.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kManifest = "checkpoint.json";
constexpr int kManifestFormat = 1;

// The N of "checkpoint-N"; none for any other name, one with a suffix included.
std::optional<int64_t> step_of(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return std::nullopt;
  int64_t step = 0;
  const char* first = name.data() + std::string_view(kPrefix).size();
  const char* last = name.data() + name.size();
  const auto [end, error] = std::from_chars(first, last, step);
  if (error != std::errc() || end != last || step < 0) return std::nullopt;
  return step;
}

int64_t nanoseconds_now() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

// For a folder without a readable manifest: when it was last changed, on the clock of saved_at.
int64_t changed_at(const fs::path& folder) {
  using namespace std::chrono;
  std::error_code error;
  const fs::file_time_type time = fs::last_write_time(folder, error);
  if (error) return 0;
  return duration_cast<nanoseconds>(file_clock::to_sys(time).time_since_epoch()).count();
}

json read_manifest(const std::string& folder) {
  return json::parse(read_file((fs::path(folder) / kManifest).string()));
}

void write_manifest(const std::string& folder, int64_t step, const std::string& run_id) {
  json files = json::array();
  std::set<fs::path> paths;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) paths.insert(entry.path());
  for (const fs::path& path : paths)
    files.push_back({{"name", fs::relative(path, folder).generic_string()},
                     {"bytes", fs::file_size(path)},
                     {"crc32", file_crc32(path.string())}});
  const json manifest = {{"format", kManifestFormat},
                         {"step", step},
                         {"run_id", run_id},
                         {"saved_at", nanoseconds_now()},
                         {"files", files}};
  write_file_atomically((fs::path(folder) / kManifest).string(), manifest.dump(1) + "\n");
}

std::string file_damage(const fs::path& folder, const json& entry) {
  const std::string name = entry.at("name").get<std::string>();
  const fs::path path = folder / name;
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return name + " is missing";
  const auto expected = entry.at("bytes").get<uintmax_t>();
  if (size != expected)
    return name + " has " + std::to_string(size) + " bytes instead of " + std::to_string(expected);
  if (file_crc32(path.string()) != entry.at("crc32").get<uint32_t>())
    return name + " does not have the checksum it was written with";
  return "";
}

}  // namespace

std::string why_damaged(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return "the folder does not exist";
  if (!fs::exists(fs::path(folder) / kManifest, error))
    return std::string(kManifest) + " is missing (not a checkpoint, or not written by regard)";
  try {
    const json manifest = read_manifest(folder);
    if (manifest.at("format").get<int>() != kManifestFormat)
      return std::string(kManifest) + " has format " + manifest.at("format").dump() +
             ", this program reads " + std::to_string(kManifestFormat);
    for (const json& entry : manifest.at("files")) {
      const std::string damage = file_damage(folder, entry);
      if (!damage.empty()) return damage;
    }
  } catch (const json::exception&) {
    return std::string(kManifest) + " is not a manifest";
  } catch (const Error& problem) {
    return problem.what();
  }
  return "";
}

void CheckpointStore::recover() {
  std::set<std::string> unfinished;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir_, error)) {
    const fs::path suffix = entry.path().extension();
    if (suffix != ".regard-tmp" && suffix != ".regard-old") continue;
    const fs::path path = fs::path(output_dir_) / entry.path().stem();
    if (step_of(path.filename().string())) unfinished.insert(path.string());
  }
  for (const std::string& path : unfinished) recover_folder(path);
}

std::vector<Checkpoint> CheckpointStore::list() const {
  std::vector<Checkpoint> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir_, error)) {
    const std::optional<int64_t> step = step_of(entry.path().filename().string());
    if (!step || !entry.is_directory(error)) continue;
    Checkpoint checkpoint{entry.path().string(), *step, "", 0};
    try {
      const json manifest = read_manifest(checkpoint.folder);
      checkpoint.run_id = manifest.at("run_id").get<std::string>();
      checkpoint.saved_at = manifest.at("saved_at").get<int64_t>();
    } catch (const std::exception&) {
      checkpoint.saved_at = changed_at(entry.path());
    }
    found.push_back(std::move(checkpoint));
  }
  std::sort(found.begin(), found.end(), [](const Checkpoint& a, const Checkpoint& b) {
    return std::tie(a.saved_at, a.step) < std::tie(b.saved_at, b.step);
  });
  return found;
}

std::string CheckpointStore::write(int64_t step, const std::string& run_id,
                                   const std::function<void(const std::string&)>& fill) {
  const std::string path = (fs::path(output_dir_) / (kPrefix + std::to_string(step))).string();
  try {
    write_folder_atomically(path, [&](const std::string& folder) {
      fill(folder);
      write_manifest(folder, step, run_id);
    });
  } catch (const fs::filesystem_error& problem) {
    throw Error("cannot write " + path + ": " + problem.code().message());
  }
  return path;
}

void CheckpointStore::remove_oldest(const std::string& run_id, int64_t limit) {
  if (limit <= 0) return;
  std::vector<Checkpoint> own = list();
  std::erase_if(own, [&](const Checkpoint& checkpoint) { return checkpoint.run_id != run_id; });
  const auto excess = static_cast<int64_t>(own.size()) - limit;
  for (int64_t i = 0; i < excess; ++i) {
    const std::string& folder = own[static_cast<size_t>(i)].folder;
    // Renamed first: killed half-way through the removal, no checkpoint-N is left in pieces.
    const std::string aside = folder + ".regard-tmp";
    std::error_code error;
    fs::rename(folder, aside, error);
    if (!error) fs::remove_all(aside, error);
    if (error) throw Error("cannot remove " + folder + ": " + error.message());
  }
}

}  // namespace tune
