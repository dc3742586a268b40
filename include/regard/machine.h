// Machine: what the rules and the choice of a back end need to know of a computer, as a value. A
// test, or `regard check --machine turing`, describes a machine that is not here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "regard/export.h"

namespace regard {

enum class DeviceKind : uint8_t { cpu, nvidia, amd };

struct ToolkitVersion {
  int major = 0, minor = 0;  // compared part by part: 12.10 is above 12.8; 0.0 = not there
  friend constexpr auto operator<=>(const ToolkitVersion&, const ToolkitVersion&) = default;
};

struct CpuFeatures {
  bool avx2 = false, avx512 = false, avx512_bf16 = false, avx512_vnni = false, amx_bf16 = false,
       amx_int8 = false;
};

struct REGARD_API Machine {
  DeviceKind kind = DeviceKind::cpu;
  std::string device_name;     // "AMD EPYC 9B45", "NVIDIA H100 80GB HBM3", ...
  int compute_capability = 0;  // NVIDIA: 75, 80, 86, 89, 90, 100, 120; else 0
  std::string amd_arch;        // AMD: "gfx942"; else empty
  ToolkitVersion cuda;         // of the run-time compiler (NVRTC)
  ToolkitVersion rocm;
  CpuFeatures cpu;
  int num_threads = 1;
  int64_t memory_bytes = 0;  // of the device that computes

  bool has_bf16_matrix() const;  // rule 22: GPU >= sm_80, CDNA, or a CPU with AVX-512 BF16 or AMX
};

// The computer this process runs on: its GPU where it has one, else its CPU. Never throws; what
// cannot be found out stays at its default.
REGARD_API Machine detect_machine();

// The same for its CPU alone, whatever GPU is beside it.
REGARD_API Machine detect_cpu_machine();

// cpu | pascal | turing | ampere | ada | hopper | blackwell | mi300, with CUDA 13.0 or ROCm 6.2.
// Throws Error(invalid_argument) naming the list when `name` is none of these.
REGARD_API Machine describe_machine(std::string_view name);

}  // namespace regard
