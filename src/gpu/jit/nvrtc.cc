#include "gpu/jit/nvrtc.h"

#include <link.h>

#include <algorithm>
#include <system_error>

#include "gpu/driver/library.h"
#include "regard/error.h"

namespace regard::gpu {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
// Where pip's packages for CUDA 13 and CUDA 12 put it below site-packages.
constexpr const char* kPipFolders[] = {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"};

// site-packages of the torch that this process has loaded; empty when there is none.
fs::path site_packages_of_loaded_torch() {
  fs::path found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        const std::string file = info->dlpi_name == nullptr ? "" : info->dlpi_name;
        const size_t at = file.find("/torch/lib/");
        if (at == std::string::npos) {
          return 0;
        }
        *static_cast<fs::path*>(result) = file.substr(0, at);
        return 1;
      },
      &found);
  return found;
}

// Folders directly below `parent` whose name begins with `prefix`, the highest name first.
std::vector<fs::path> folders_below(const fs::path& parent, const std::string& prefix) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    if (entry.path().filename().string().starts_with(prefix)) {
      folders.push_back(entry.path());
    }
  }
  std::sort(folders.rbegin(), folders.rend());
  return folders;
}

std::vector<fs::path> nvrtc_folders(const Settings& settings) {
  std::vector<fs::path> folders;
  const auto add_toolkit = [&](const fs::path& home) {
    folders.push_back(home / "lib64");
    folders.push_back(home / "lib");
  };
  const auto add_site_packages = [&](const fs::path& site) {
    for (const char* folder : kPipFolders) {
      folders.push_back(site / folder);
    }
  };
  if (!settings.cuda_home.empty()) {
    add_toolkit(settings.cuda_home);
  }
  if (const fs::path site = site_packages_of_loaded_torch(); !site.empty()) {
    add_site_packages(site);
  }
  if (!settings.virtual_env.empty()) {
    for (const fs::path& python : folders_below(settings.virtual_env / "lib", "python")) {
      add_site_packages(python / "site-packages");
    }
  }
  for (const fs::path& toolkit : folders_below("/usr/local", "cuda")) {
    add_toolkit(toolkit);
  }
  return folders;
}

bool bind(const SharedLibrary& library, Nvrtc& found) {
  const auto get = [&]<typename Result, typename... Arguments>(Result (*&pointer)(Arguments...),
                                                               const char* name) {
    pointer = library.symbol<Result(Arguments...)>(name);
    return pointer != nullptr;
  };
  return get(found.version, "nvrtcVersion") && get(found.create_program, "nvrtcCreateProgram") &&
         get(found.destroy_program, "nvrtcDestroyProgram") &&
         get(found.compile_program, "nvrtcCompileProgram") &&
         get(found.get_log_size, "nvrtcGetProgramLogSize") &&
         get(found.get_log, "nvrtcGetProgramLog") &&
         get(found.get_cubin_size, "nvrtcGetCUBINSize") && get(found.get_cubin, "nvrtcGetCUBIN") &&
         get(found.get_error_string, "nvrtcGetErrorString");
}

}  // namespace

std::vector<std::string> nvrtc_candidates(const Settings& settings) {
  if (!settings.nvrtc_file.empty()) {
    return {settings.nvrtc_file.string()};
  }
  std::vector<std::string> candidates(std::begin(kNames), std::end(kNames));
  for (const fs::path& folder : nvrtc_folders(settings)) {
    for (const char* name : kNames) {
      std::error_code error;
      if (fs::exists(folder / name, error)) {
        candidates.push_back((folder / name).string());
      }
    }
  }
  return candidates;
}

bool find_nvrtc(const Settings& settings, Nvrtc& found, std::string& reason) {
  const std::string remedy = "; install CUDA 12.4 or newer, or name the file in REGARD_NVRTC";
  reason = settings.nvrtc_file.empty()
               ? "libnvrtc is not on this machine" + remedy
               : "REGARD_NVRTC=" + settings.nvrtc_file.string() + " cannot be loaded";
  for (const std::string& candidate : nvrtc_candidates(settings)) {
    SharedLibrary library;
    if (!library.load(candidate) || !bind(library, found) ||
        found.version(&found.major, &found.minor) != 0) {
      continue;
    }
    if (found.major > kOldestNvrtcMajor ||
        (found.major == kOldestNvrtcMajor && found.minor >= kOldestNvrtcMinor)) {
      reason = "";
      return true;
    }
    reason = candidate + " is NVRTC " + std::to_string(found.major) + "." +
             std::to_string(found.minor) + remedy;
  }
  return false;
}

namespace {

struct Search {
  Nvrtc found = {};
  std::string reason;
  bool is_found = find_nvrtc(settings(), found, reason);
};
const Search& search() {
  static const Search once;
  return once;
}

}  // namespace

const Nvrtc* nvrtc(std::string& reason) {
  reason = search().reason;
  return search().is_found ? &search().found : nullptr;
}

const Nvrtc& required_nvrtc() {
  if (!search().is_found) {
    throw Error(ErrorCode::unsupported, search().reason);
  }
  return search().found;
}

NvrtcVersion nvrtc_version() { return {search().found.major, search().found.minor}; }

}  // namespace regard::gpu
