// The table of attention modules and what each of them asks of a machine and a model.
#include "regard/modules.h"

#include <array>
#include <string>

#include "regard/error.h"

namespace regard {
namespace {

constexpr std::array kModules = {
    ModuleInfo{Module::sdpa, "sdpa", "sdp_attention",
               "Scaled dot product attention, the default: every mask, bias and dtype, everywhere.",
               0},
    ModuleInfo{Module::flash_attention_2, "flash_attention_2", "flash_attention",
               "Exact tiled attention without S x S memory; Ampere and newer, ROCm 6.0 and newer, "
               "or the CPU.",
               256},
    ModuleInfo{Module::flash_attention_3, "flash_attention_3", "",
               "The Hopper schedule of flash attention; chosen by itself there.", 256},
    ModuleInfo{Module::flex_attention, "flex_attention", "flex_attention",
               "Score and mask programs written by the user, compiled into the kernel.", 512},
    ModuleInfo{Module::sage, "sage", "sage_attention",
               "INT8 Q K^T and 16-bit P V, with a backward pass; Ampere and newer, or the CPU.",
               256},
    ModuleInfo{Module::xformers, "xformers", "xformers_attention",
               "Memory-efficient attention with bias objects; the choice for Turing and older.",
               512},
    ModuleInfo{Module::s2, "s2", "s2_attention",
               "Shifted sparse attention (LongLoRA); LLaMA only, no sample packing, deprecated.",
               256},
    ModuleInfo{Module::eager, "eager", "eager_attention",
               "Materialised scores; the yardstick the others are compared with.", 0},
};

constexpr int kAmpere = 80;
constexpr int kHopper = 90;
constexpr ToolkitVersion kFirstRocmWithFlash{6, 0};
constexpr ToolkitVersion kFirstCudaWithHopperSchedule{12, 3};

std::string text_of(const ToolkitVersion& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

// "NVIDIA T4 (Turing) has compute capability 7.5"
std::string found(const Machine& machine) {
  return machine.device_name + " has compute capability " +
         std::to_string(machine.compute_capability / 10) + "." +
         std::to_string(machine.compute_capability % 10);
}

std::string why_not_flash(std::string_view name, const Machine& machine) {
  if (machine.kind == DeviceKind::nvidia && machine.compute_capability < kAmpere) {
    return std::string(name) +
           " needs an NVIDIA GPU of compute capability 8.0 or higher (Ampere, Ada, Hopper or "
           "newer), and " +
           found(machine) + ": use `xformers_attention: true` or `sdp_attention: true`";
  }
  if (machine.kind == DeviceKind::amd && machine.rocm < kFirstRocmWithFlash) {
    const std::string rocm =
        machine.rocm == ToolkitVersion{} ? "none was found" : text_of(machine.rocm) + " was found";
    return std::string(name) + " needs ROCm 6.0 or newer on an AMD GPU, and " + rocm + " (" +
           machine.device_name + "): update ROCm, or use `sdp_attention: true`";
  }
  return "";
}

std::string why_not_flash_3(const Machine& machine) {
  if (machine.kind != DeviceKind::nvidia || machine.compute_capability != kHopper) {
    const std::string here = machine.kind == DeviceKind::nvidia
                                 ? found(machine)
                                 : "this machine is " + machine.device_name;
    const bool is_old = machine.kind == DeviceKind::nvidia && machine.compute_capability < kAmpere;
    return "flash_attention_3 runs on NVIDIA Hopper only (compute capability 9.0), and " + here +
           (is_old ? ": use `xformers_attention: true` or `sdp_attention: true` here, or write "
                     "`flash_attention: true` on Ampere or newer"
                   : ": write `flash_attention: true`, which takes the version that suits the "
                     "machine");
  }
  if (machine.cuda < kFirstCudaWithHopperSchedule) {
    const std::string cuda = machine.cuda == ToolkitVersion{}
                                 ? "no CUDA run-time compiler (NVRTC) was found"
                                 : "CUDA " + text_of(machine.cuda) + " was found";
    return "flash_attention_3 needs CUDA (NVRTC) 12.3 or newer, 12.8 recommended, and " + cuda +
           ": update CUDA, or write `flash_attention: true`";
  }
  return "";
}

std::string why_not_sage(const Machine& machine) {
  if (machine.kind == DeviceKind::amd) {
    return "sage needs an NVIDIA GPU (Ampere, Ada, Hopper or newer) or the CPU engine, and this "
           "machine is " +
           machine.device_name + ": use `flash_attention: true` or `sdp_attention: true`";
  }
  if (machine.kind == DeviceKind::nvidia && machine.compute_capability < kAmpere) {
    return "sage needs an NVIDIA GPU of compute capability 8.0 or higher (Ampere, Ada, Hopper or "
           "newer) or the CPU engine, and " +
           found(machine) + ": use `xformers_attention: true` or `sdp_attention: true`";
  }
  return "";
}

}  // namespace

std::span<const ModuleInfo> modules() { return kModules; }

const ModuleInfo& module_info(Module module) {
  for (const ModuleInfo& info : kModules) {
    if (info.module == module) {
      return info;
    }
  }
  throw Error(ErrorCode::invalid_argument, "module " + std::to_string(static_cast<int>(module)) +
                                               " is not in the table of " +
                                               std::to_string(kModules.size()) + " modules");
}

std::optional<Module> find_module(std::string_view canonical_name) {
  for (const ModuleInfo& info : kModules) {
    if (info.name == canonical_name) {
      return info.module;
    }
  }
  return std::nullopt;
}

std::string why_unsupported(Module module, const Machine& machine) {
  switch (module) {
    case Module::flash_attention_2:
    case Module::s2:  // shifted sparse attention is flash attention on shifted groups
      return why_not_flash(module_info(module).name, machine);
    case Module::flash_attention_3:
      return why_not_flash_3(machine);
    case Module::sage:
      return why_not_sage(machine);
    case Module::sdpa:
    case Module::flex_attention:
    case Module::xformers:
    case Module::eager:
      return "";
  }
  return "";
}

std::string why_unsupported(Module module, const Machine& machine, const ModelNeeds& needs) {
  if (std::string reason = why_unsupported(module, machine); !reason.empty()) {
    return reason;
  }
  const ModuleInfo& info = module_info(module);
  const std::string head = "head_dim " + std::to_string(needs.head_dim);
  if (needs.head_dim < 1) {
    return head + ": " + std::string(info.name) + " needs a head size of 1 or more";
  }
  if (info.max_head_dim != 0 && needs.head_dim > info.max_head_dim) {
    return head + ": " + std::string(info.name) + " serves head sizes 1 to " +
           std::to_string(info.max_head_dim) + "; use `sdp_attention: true`, which serves any size";
  }
  return "";
}

}  // namespace regard
