#include "gpu/settings.h"

#include <cstdlib>

namespace regard::gpu {

Settings read_settings(const char* (*get)(const char* name)) {
  const auto path = [get](const char* name) {
    const char* value = get(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  Settings settings;
  settings.cache_folder = path("REGARD_CACHE_DIR");
  if (const auto user_cache = path("XDG_CACHE_HOME");
      settings.cache_folder.empty() && !user_cache.empty()) {
    settings.cache_folder = user_cache / "regard";
  }
  if (const auto home = path("HOME"); settings.cache_folder.empty() && !home.empty()) {
    settings.cache_folder = home / ".cache" / "regard";
  }
  settings.nvrtc_file = path("REGARD_NVRTC");
  settings.cuda_home = path("CUDA_HOME");
  if (settings.cuda_home.empty()) {
    settings.cuda_home = path("CUDA_PATH");
  }
  settings.virtual_env = path("VIRTUAL_ENV");
  return settings;
}

const Settings& settings() {
  static const Settings read =
      read_settings(+[](const char* name) -> const char* { return std::getenv(name); });
  return read;
}

}  // namespace regard::gpu
