// CPU features as the operating system lets us use them, and the machine's cores and memory.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "api/detect.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace regard::api {

#if defined(__x86_64__)
namespace {

// Register state the OS saves (XCR0): an instruction whose registers are not saved would fault.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr bool has_bit(uint32_t value, int bit) { return ((value >> bit) & 1u) != 0; }

}  // namespace

// Bits of CPUID leaf 7 (Intel SDM volume 2, CPUID): subleaf 0 in EBX, ECX, EDX; subleaf 1 in EAX.
CpuFeatures detect_cpu_features() {
  CpuFeatures features;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_bit(ecx, 27)) {  // OSXSAVE: xgetbv exists
    return features;
  }
  const uint64_t state = saved_state();
  const bool saves_avx = (state & 0x6) == 0x6;
  const bool saves_avx512 = saves_avx && (state & 0xE0) == 0xE0;
  const bool saves_tiles = (state & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    return features;
  }
  features.avx2 = saves_avx && has_bit(ebx, 5);
  // F, DQ, BW and VL together are what "AVX-512" means to every kernel here.
  features.avx512 =
      saves_avx512 && has_bit(ebx, 16) && has_bit(ebx, 17) && has_bit(ebx, 30) && has_bit(ebx, 31);
  features.avx512_vnni = features.avx512 && has_bit(ecx, 11);
  const bool has_tiles = saves_tiles && has_bit(edx, 24);
  features.amx_bf16 = has_tiles && has_bit(edx, 22);
  features.amx_int8 = has_tiles && has_bit(edx, 25);
  const uint32_t num_subleaves = eax;
  if (num_subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
    features.avx512_bf16 = features.avx512 && has_bit(eax, 5);
  }
  return features;
}
#else
CpuFeatures detect_cpu_features() { return {}; }
#endif

std::string detect_cpu_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with("model name") && colon != std::string::npos && colon + 2 < line.size()) {
      return line.substr(colon + 2);
    }
  }
  return "CPU";
}

int detect_num_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    return std::max(1, CPU_COUNT(&allowed));
  }
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

int64_t detect_system_memory_bytes() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  const int64_t physical = pages > 0 && page_bytes > 0 ? pages * page_bytes : 0;
  std::ifstream control_group("/sys/fs/cgroup/memory.max");  // "max" or a number
  int64_t limit = 0;
  if (control_group >> limit && limit > 0 && limit < physical) {
    return limit;
  }
  return physical;
}

}  // namespace regard::api
