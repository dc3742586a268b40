// regard doctor: what this machine is, which modules run on it, which do not, why, and what to use
// instead.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command_line.h"
#include "regard/attention.h"

namespace cli {
namespace {

struct ModuleVerdict {
  const regard::ModuleInfo* info;
  std::string reason;  // empty = runs here
};

std::vector<ModuleVerdict> judge_modules(const regard::Machine& machine) {
  std::vector<ModuleVerdict> verdicts;
  for (const regard::ModuleInfo& info : regard::modules()) {
    std::string reason = regard::why_unsupported(info.module, machine);
    if (reason.empty() && !info.is_built) {
      reason = "not built yet in this version; use sdp_attention or flash_attention";
    }
    verdicts.push_back({&info, std::move(reason)});
  }
  return verdicts;
}

std::string version_text(const regard::ToolkitVersion& version) {
  return version.major == 0 ? "none"
                            : std::to_string(version.major) + "." + std::to_string(version.minor);
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

void print_json(const regard::Machine& machine, const std::vector<ModuleVerdict>& verdicts) {
  nlohmann::json json = {{"version", regard::version()},
                         {"machine",
                          {{"kind", kind_name(machine.kind)},
                           {"device", machine.device_name},
                           {"compute_capability", machine.compute_capability},
                           {"amd_arch", machine.amd_arch},
                           {"cuda", version_text(machine.cuda)},
                           {"rocm", version_text(machine.rocm)},
                           {"threads", machine.num_threads},
                           {"memory_bytes", machine.memory_bytes},
                           {"simd_target", regard::active_target()},
                           {"bf16", machine.has_bf16_matrix()},
                           {"cpu", cpu_features(machine.cpu)}}},
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

void print_text(const regard::Machine& machine, const std::vector<ModuleVerdict>& verdicts) {
  std::cout << "Regard " << regard::version() << "\n\n"
            << "  device   " << machine.device_name << " (" << kind_name(machine.kind) << ")\n"
            << "  threads  " << machine.num_threads << ", SIMD " << regard::active_target() << "\n"
            << "  memory   " << (machine.memory_bytes >> 30) << " GiB\n"
            << "  bf16     "
            << (machine.has_bf16_matrix() ? "in hardware; `bf16: auto` uses it"
                                          : "no; `bf16: auto` trains in fp32")
            << "\n  CUDA     " << version_text(machine.cuda) << "\n  ROCm     "
            << version_text(machine.rocm) << "\n\nAttention modules on this machine:\n";
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
                   /*file_required=*/false);
  bool as_json = false;
  line.app().add_flag("--json", as_json, "print everything as JSON");
  if (!line.parse(words)) return 0;
  const regard::Machine machine = regard::detect_machine();
  const std::vector<ModuleVerdict> verdicts = judge_modules(machine);
  as_json ? print_json(machine, verdicts) : print_text(machine, verdicts);
  return 0;
}

}  // namespace cli
