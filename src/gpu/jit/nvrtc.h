// NVRTC, the run-time compiler of CUDA, loaded where it is found: by the loader's own search, in
// CUDA_HOME, beside a loaded torch or in the Python environment (pip's nvidia packages), below
// /usr/local.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "gpu/settings.h"

namespace regard::gpu {

struct Nvrtc {
  int (*version)(int* major, int* minor);
  int (*create_program)(void** program, const char* source, const char* name, int num_headers,
                        const char* const* headers, const char* const* header_names);
  int (*destroy_program)(void** program);
  int (*compile_program)(void* program, int num_options, const char* const* options);
  int (*get_log_size)(void* program, size_t* size);
  int (*get_log)(void* program, char* log);
  int (*get_cubin_size)(void* program, size_t* size);
  int (*get_cubin)(void* program, char* cubin);
  const char* (*get_error_string)(int result);
  int major, minor;
};

// The oldest one that compiles the kernels: class values as template arguments in C++20.
inline constexpr int kOldestNvrtcMajor = 12, kOldestNvrtcMinor = 4;

// Files to try, in order: names for the loader to search, then paths.
std::vector<std::string> nvrtc_candidates(const Settings& settings);

// The first candidate that is new enough; else null, and `reason` says why in a sentence. Looks
// once a process; thread-safe.
const Nvrtc* nvrtc(std::string& reason);

// The same for those who cannot go on without: throws Error(unsupported) with the reason.
const Nvrtc& required_nvrtc();

// Version of the one found, also where it is too old; 0.0 where there is none.
struct NvrtcVersion {
  int major = 0, minor = 0;
};
NvrtcVersion nvrtc_version();

// nvrtc() for other settings, searched anew.
bool find_nvrtc(const Settings& settings, Nvrtc& found, std::string& reason);

}  // namespace regard::gpu
