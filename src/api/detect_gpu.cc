// GPUs, asked through libraries that may or may not be there: everything is loaded at run time, so
// that the same library file works on a machine without a driver.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "api/detect.h"

namespace regard::api {
namespace {

// A shared library held open for the length of a question.
class Library {
 public:
  explicit Library(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (handle_ == nullptr) {
        handle_ = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
      }
    }
  }
  // Never closed: the drivers start threads that do not survive their own unloading.
  bool is_loaded() const { return handle_ != nullptr; }

  template <typename Function>
  Function* symbol(const char* name) const {
    return handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
};

ToolkitVersion detect_nvrtc_version() {
  const Library nvrtc({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"});
  auto* version = nvrtc.symbol<int(int*, int*)>("nvrtcVersion");
  ToolkitVersion found;
  if (version == nullptr || version(&found.major, &found.minor) != 0) {
    return {};
  }
  return found;
}

// CUdevice_attribute values of the driver API.
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;

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
  const Library hip({"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"});
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
  const Library cuda({"libcuda.so.1"});
  auto* init = cuda.symbol<int(unsigned)>("cuInit");
  auto* get_count = cuda.symbol<int(int*)>("cuDeviceGetCount");
  auto* get_device = cuda.symbol<int(int*, int)>("cuDeviceGet");
  auto* get_name = cuda.symbol<int(char*, int, int)>("cuDeviceGetName");
  auto* get_attribute = cuda.symbol<int(int*, int, int)>("cuDeviceGetAttribute");
  auto* get_memory = cuda.symbol<int(size_t*, int)>("cuDeviceTotalMem_v2");
  if (!init || !get_count || !get_device || !get_name || !get_attribute || !get_memory) {
    return false;
  }
  int count = 0, device = 0;
  if (init(0) != 0 || get_count(&count) != 0 || count < 1 || get_device(&device, 0) != 0) {
    return false;
  }
  char name[256] = {};
  int major = 0, minor = 0;
  size_t memory = 0;
  if (get_attribute(&major, kComputeCapabilityMajor, device) != 0 ||
      get_attribute(&minor, kComputeCapabilityMinor, device) != 0) {
    return false;
  }
  machine.kind = DeviceKind::nvidia;
  machine.compute_capability = major * 10 + minor;
  machine.device_name =
      get_name(name, sizeof(name) - 1, device) == 0 && name[0] != '\0' ? name : "NVIDIA GPU";
  machine.memory_bytes = get_memory(&memory, device) == 0 ? static_cast<int64_t>(memory) : 0;
  machine.cuda = detect_nvrtc_version();
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
