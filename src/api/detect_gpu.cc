// GPUs, asked through libraries that may or may not be there: everything is loaded at run time, so
// that the same library file works on a machine without a driver.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "api/detect.h"
#include "gpu/driver/cuda_driver.h"
#include "gpu/driver/library.h"
#include "gpu/jit/nvrtc.h"

namespace regard::api {
namespace {

// "property value" lines of the kernel driver's topology files.
int64_t read_property(const std::filesystem::path& file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  int64_t value = 0;
  while (in >> key >> value) {
    if (key == name) {
      return value;
    }
  }
  return 0;
}

// 90402 -> gfx942, 90010 -> gfx90a: major, minor, and a stepping written as a hexadecimal digit.
std::string gfx_name(int64_t target_version) {
  char text[32];
  std::snprintf(text, sizeof(text), "gfx%d%d%x", static_cast<int>(target_version / 10000),
                static_cast<int>(target_version / 100 % 100),
                static_cast<unsigned>(target_version % 100));
  return text;
}

ToolkitVersion detect_rocm_version() {
  ToolkitVersion version;
  std::ifstream file("/opt/rocm/.info/version");  // "6.2.0-66"
  char dot = 0;
  if (file >> version.major >> dot >> version.minor && dot == '.') {
    return version;
  }
  const gpu::SharedLibrary hip(
      {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"});
  auto* runtime_version = hip.symbol<int(int*)>("hipRuntimeGetVersion");
  int packed = 0;  // major * 10^7 + minor * 10^5 + patch
  if (runtime_version == nullptr || runtime_version(&packed) != 0) {
    return {};
  }
  return {packed / 10'000'000, packed / 100'000 % 100};
}

int64_t amd_memory_bytes(const std::filesystem::path& node) {
  int64_t bytes = 0;
  std::error_code error;
  for (const auto& bank : std::filesystem::directory_iterator(node / "mem_banks", error)) {
    bytes += read_property(bank.path() / "properties", "size_in_bytes");
  }
  return bytes;
}

}  // namespace

bool detect_nvidia(Machine& machine) {
  std::string reason;
  const gpu::CudaDriver* driver = gpu::cuda_driver(reason);
  int device = 0;
  if (driver == nullptr || driver->device_get(&device, 0) != 0) {
    return false;
  }
  const int compute_capability = gpu::compute_capability_of(*driver, device);
  if (compute_capability == 0) {
    return false;
  }
  char name[256] = {};
  size_t memory = 0;
  machine.kind = DeviceKind::nvidia;
  machine.compute_capability = compute_capability;
  machine.device_name =
      driver->device_get_name(name, sizeof(name) - 1, device) == 0 && name[0] != '\0'
          ? name
          : "NVIDIA GPU";
  machine.memory_bytes =
      driver->device_total_memory(&memory, device) == 0 ? static_cast<int64_t>(memory) : 0;
  const gpu::NvrtcVersion nvrtc = gpu::nvrtc_version();
  machine.cuda = {nvrtc.major, nvrtc.minor};
  return true;
}

bool detect_amd(Machine& machine) {
  std::error_code error;
  std::vector<std::filesystem::path> nodes;
  for (const auto& node :
       std::filesystem::directory_iterator("/sys/class/kfd/kfd/topology/nodes", error)) {
    nodes.push_back(node.path());
  }
  std::sort(nodes.begin(), nodes.end());
  for (const std::filesystem::path& node : nodes) {
    const int64_t target = read_property(node / "properties", "gfx_target_version");
    if (target == 0) {
      continue;  // a CPU is a node too
    }
    machine.kind = DeviceKind::amd;
    machine.amd_arch = gfx_name(target);
    machine.device_name = "AMD " + machine.amd_arch;
    machine.memory_bytes = amd_memory_bytes(node);
    machine.rocm = detect_rocm_version();
    return true;
  }
  return false;
}

}  // namespace regard::api
