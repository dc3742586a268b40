// The environment variables of the GPU engine, read once.
#pragma once

#include <filesystem>

namespace regard::gpu {

struct Settings {
  // REGARD_CACHE_DIR, else XDG_CACHE_HOME/regard, else HOME/.cache/regard; empty = no disk cache.
  std::filesystem::path cache_folder = {};
  std::filesystem::path nvrtc_file =
      {};                                // REGARD_NVRTC: this libnvrtc and no other; empty = search
  std::filesystem::path cuda_home = {};  // CUDA_HOME, else CUDA_PATH
  std::filesystem::path virtual_env = {};  // VIRTUAL_ENV: a Python environment that may hold NVRTC
};

// Reads them through `get`, which returns null for a variable that is not set.
Settings read_settings(const char* (*get)(const char* name));

// Those of this process, read at the first call.
const Settings& settings();

}  // namespace regard::gpu
