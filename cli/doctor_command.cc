// regard doctor: what this machine is, which modules run on it, which do not, why, and what to use
// instead.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command_line.h"
#include "regard/attention.h"
#include "tune/config/version_text.h"
#include "tune/train/session.h"

namespace cli {
namespace {

// A GPU is shown also where this program cannot use it; modules are judged for what computes.
struct Computer {
  regard::Machine cpu = regard::detect_cpu_machine();
  regard::Machine device = regard::detect_machine();  // the GPU where there is one, else the CPU
  bool has_gpu() const { return device.kind != regard::DeviceKind::cpu; }
  bool uses_gpu() const { return tune::training_machine().kind != regard::DeviceKind::cpu; }
  const regard::Machine& computing() const { return uses_gpu() ? device : cpu; }
};

struct ModuleVerdict {
  const regard::ModuleInfo* info;
  std::string reason;  // empty = runs here
};

std::vector<ModuleVerdict> judge_modules(const regard::Machine& machine) {
  std::vector<ModuleVerdict> verdicts;
  for (const regard::ModuleInfo& info : regard::modules()) {
    verdicts.push_back({&info, regard::why_unsupported(info.module, machine)});
  }
  return verdicts;
}

const char* kind_name(regard::DeviceKind kind) {
  switch (kind) {
    case regard::DeviceKind::nvidia:
      return "nvidia";
    case regard::DeviceKind::amd:
      return "amd";
    case regard::DeviceKind::cpu:
      break;
  }
  return "cpu";
}

nlohmann::json cpu_features(const regard::CpuFeatures& cpu) {
  return {{"avx2", cpu.avx2},
          {"avx512", cpu.avx512},
          {"avx512_bf16", cpu.avx512_bf16},
          {"avx512_vnni", cpu.avx512_vnni},
          {"amx_bf16", cpu.amx_bf16},
          {"amx_int8", cpu.amx_int8}};
}

nlohmann::json gpu_json(const Computer& computer) {
  if (!computer.has_gpu()) return nullptr;
  const regard::Machine& gpu = computer.device;
  return {{"kind", kind_name(gpu.kind)},
          {"device", gpu.device_name},
          {"compute_capability", gpu.compute_capability},
          {"amd_arch", gpu.amd_arch},
          {"cuda", tune::version_text(gpu.cuda)},
          {"rocm", tune::version_text(gpu.rocm)},
          {"memory_bytes", gpu.memory_bytes},
          {"used", computer.uses_gpu()}};
}

void print_json(const Computer& computer, const std::vector<ModuleVerdict>& verdicts) {
  const regard::Machine& cpu = computer.cpu;
  nlohmann::json json = {{"version", regard::version()},
                         {"computes_on", kind_name(computer.computing().kind)},
                         {"machine",
                          {{"kind", kind_name(cpu.kind)},
                           {"device", cpu.device_name},
                           {"threads", cpu.num_threads},
                           {"memory_bytes", cpu.memory_bytes},
                           {"simd_target", regard::active_target()},
                           {"bf16", cpu.has_bf16_matrix()},
                           {"cpu", cpu_features(cpu.cpu)}}},
                         {"gpu", gpu_json(computer)},
                         {"modules", nlohmann::json::array()}};
  for (const ModuleVerdict& verdict : verdicts) {
    json["modules"].push_back({{"name", verdict.info->name},
                               {"yaml", verdict.info->yaml_key},
                               {"runs", verdict.reason.empty()},
                               {"reason", verdict.reason},
                               {"summary", verdict.info->summary}});
  }
  std::cout << json.dump(2) << "\n";
}

std::string gpu_text(const Computer& computer) {
  if (!computer.has_gpu()) return "none";
  const regard::Machine& gpu = computer.device;
  const bool is_nvidia = gpu.kind == regard::DeviceKind::nvidia;
  return gpu.device_name +
         (is_nvidia ? ", CUDA (NVRTC) " + tune::version_text(gpu.cuda)
                    : ", ROCm " + tune::version_text(gpu.rocm)) +
         (computer.uses_gpu() ? "; trains here"
                              : "; not used: this program was built with a LibTorch without CUDA");
}

void print_text(const Computer& computer, const std::vector<ModuleVerdict>& verdicts) {
  const regard::Machine& cpu = computer.cpu;
  const bool has_bf16 = computer.computing().has_bf16_matrix();
  std::cout << "Regard " << regard::version() << "\n\n"
            << "  CPU      " << cpu.device_name << "\n"
            << "  threads  " << cpu.num_threads << ", SIMD " << regard::active_target() << "\n"
            << "  memory   " << (cpu.memory_bytes >> 30) << " GiB\n"
            << "  bf16     "
            << (has_bf16 ? "in hardware; `bf16: auto` uses it" : "no; `bf16: auto` trains in fp32")
            << "\n  GPU      " << gpu_text(computer) << "\n\nAttention modules on this machine:\n";
  for (const ModuleVerdict& verdict : verdicts) {
    const std::string name(verdict.info->name);
    std::cout << (verdict.reason.empty() ? "  yes  " : "  no   ") << name
              << std::string(20 - name.size(), ' ')
              << (verdict.reason.empty() ? std::string(verdict.info->summary) : verdict.reason)
              << "\n";
  }
}

}  // namespace

int doctor_command(const Words& words) {
  CommandLine line("doctor", "What this machine is and which attention modules run on it.",
                   /*takes_file=*/false);
  bool as_json = false;
  line.app().add_flag("--json", as_json, "print everything as JSON");
  if (!line.parse(words)) return 0;
  const Computer computer;
  const std::vector<ModuleVerdict> verdicts = judge_modules(computer.computing());
  as_json ? print_json(computer, verdicts) : print_text(computer, verdicts);
  return 0;
}

}  // namespace cli
