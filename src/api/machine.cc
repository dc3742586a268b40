// Machine as a value: the one that runs, or one that is only described.
#include "regard/machine.h"

#include <array>
#include <string>

#include "api/detect.h"
#include "regard/error.h"

namespace regard {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr ToolkitVersion kDescribedCuda{13, 0};
constexpr ToolkitVersion kDescribedRocm{6, 2};

struct Description {
  std::string_view name;  // as `--machine` says it
  DeviceKind kind;
  std::string_view device_name;
  int compute_capability;
  std::string_view amd_arch;
  int64_t memory_gib;
};

// One card a generation: the one most often met.
constexpr std::array kDescriptions = {
    Description{"cpu", DeviceKind::cpu, "CPU with AVX2", 0, "", 16},
    Description{"pascal", DeviceKind::nvidia, "NVIDIA P100 (Pascal)", 60, "", 16},
    Description{"turing", DeviceKind::nvidia, "NVIDIA T4 (Turing)", 75, "", 16},
    Description{"ampere", DeviceKind::nvidia, "NVIDIA A100 (Ampere)", 80, "", 80},
    Description{"ada", DeviceKind::nvidia, "NVIDIA L40S (Ada)", 89, "", 48},
    Description{"hopper", DeviceKind::nvidia, "NVIDIA H100 (Hopper)", 90, "", 80},
    Description{"blackwell", DeviceKind::nvidia, "NVIDIA B200 (Blackwell)", 100, "", 180},
    Description{"mi300", DeviceKind::amd, "AMD Instinct MI300X", 0, "gfx942", 192},
};

// CDNA 1 to 4: gfx908, gfx90a, gfx94x, gfx95x. RDNA cards are gfx10 and up.
bool is_cdna(std::string_view arch) {
  return arch == "gfx908" || arch == "gfx90a" || arch.starts_with("gfx94") ||
         arch.starts_with("gfx95");
}

}  // namespace

bool Machine::has_bf16_matrix() const {
  switch (kind) {
    case DeviceKind::nvidia:
      return compute_capability >= 80;
    case DeviceKind::amd:
      return is_cdna(amd_arch);
    case DeviceKind::cpu:
      return cpu.avx512_bf16 || cpu.amx_bf16;
  }
  return false;
}

Machine detect_machine() {
  Machine machine = detect_cpu_machine();
  try {
    if (!api::detect_nvidia(machine)) {
      api::detect_amd(machine);
    }
  } catch (...) {
    // As in detect_cpu_machine.
  }
  return machine;
}

Machine detect_cpu_machine() {
  Machine machine;
  try {
    machine.cpu = api::detect_cpu_features();
    machine.num_threads = api::detect_num_cores();
    machine.device_name = api::detect_cpu_name();
    machine.memory_bytes = api::detect_system_memory_bytes();
  } catch (...) {
    // Out of memory at worst: what is known so far still describes this machine.
  }
  return machine;
}

Machine describe_machine(std::string_view name) {
  std::string names;
  for (const Description& described : kDescriptions) {
    if (described.name == name) {
      Machine machine;
      machine.kind = described.kind;
      machine.device_name = described.device_name;
      machine.compute_capability = described.compute_capability;
      machine.amd_arch = described.amd_arch;
      machine.cuda = described.kind == DeviceKind::nvidia ? kDescribedCuda : ToolkitVersion{};
      machine.rocm = described.kind == DeviceKind::amd ? kDescribedRocm : ToolkitVersion{};
      machine.cpu.avx2 = true;
      machine.num_threads = 8;
      machine.memory_bytes = described.memory_gib * kGiB;
      return machine;
    }
    names += (names.empty() ? "" : ", ") + std::string(described.name);
  }
  throw Error(ErrorCode::invalid_argument,
              "machine '" + std::string(name) + "' is not known; write one of " + names);
}

}  // namespace regard
