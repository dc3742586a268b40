// Rules 10 to 19, 21, 22 and 30: what the machine and the model allow.
#include <string>

#include "tune/config/mask_grid.h"
#include "tune/config/resolve.h"
#include "tune/config/rules.h"
#include "tune/config/version_text.h"

namespace tune {
namespace {

using regard::DeviceKind;
using regard::Module;
using regard::ToolkitVersion;

constexpr int kAmpere = 80;
constexpr ToolkitVersion kHopperCuda{12, 3};             // the first NVRTC with sm_90a schedules
constexpr ToolkitVersion kRecommendedHopperCuda{12, 8};  // fewer register spills
constexpr ToolkitVersion kFlashRocm{6, 0};

bool is_below_ampere(const Facts& facts) {
  return facts.machine().kind == DeviceKind::nvidia && facts.machine().compute_capability < kAmpere;
}

std::string device_text(const regard::Machine& machine) {
  std::string text = machine.device_name;
  if (machine.kind == DeviceKind::nvidia) {
    const std::string arch = "sm_" + std::to_string(machine.compute_capability);
    text = text.empty() ? arch : text + ", " + arch;
  }
  if (machine.kind == DeviceKind::amd && text.empty()) text = machine.amd_arch;
  return text.empty() ? "this CPU" : text;
}

// Rule 17 for one of the two programs.
void report_program(const Facts& facts, const std::string& key,
                    const std::optional<regard::ParsedProgram>& parsed, Report& report) {
  if (!parsed || !parsed->fault) return;
  const size_t position = parsed->fault->position;
  report.error(key, facts.mark(key),
               key + (position == 0 ? "" : ", character " + std::to_string(position)) + ": " +
                   parsed->fault->message);
}

}  // namespace

namespace rules {

void flash_generation(const Facts& facts, Report& report) {
  if (!is_below_ampere(facts)) return;
  for (const ModuleChoice& choice : facts.choices) {
    if (!choice.is_flash() || choice.module == Module::flash_attention_3) continue;  // rule 11
    report.error(choice.key, choice.mark,
                 choice.text() + " needs an NVIDIA Ampere GPU or newer (sm_80); this machine has " +
                     device_text(facts.machine()) +
                     ": write xformers_attention: true or sdp_attention: true");
  }
}

void flash3_hopper(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen(Module::flash_attention_3);
  if (choice == nullptr) return;
  const ToolkitVersion cuda = facts.machine().cuda;
  if (!facts.is_hopper()) {
    report.error(choice->key, choice->mark,
                 "flash_attention_3 by name is for Hopper GPUs (sm_90) only; this machine has " +
                     device_text(facts.machine()) +
                     ": write flash_attention: true, which picks what fits");
  } else if (cuda < kHopperCuda) {
    report.error(choice->key, choice->mark,
                 "flash_attention_3 needs CUDA (NVRTC) 12.3 or newer, 12.8 recommended; found " +
                     version_text(cuda) + ": update CUDA, or write flash_attention: true");
  } else if (cuda < kRecommendedHopperCuda) {
    report.warning(choice->key, choice->mark,
                   "flash_attention_3 with CUDA (NVRTC) " + version_text(cuda) +
                       ": 12.8 or newer is recommended");
  }
}

void flash_rocm(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen_flash();
  const regard::Machine& machine = facts.machine();
  if (choice == nullptr || machine.kind != DeviceKind::amd || machine.rocm >= kFlashRocm) return;
  report.error(choice->key, choice->mark,
               choice->text() + " on AMD needs ROCm 6.0 or newer; found " +
                   version_text(machine.rocm) + ": update ROCm, or write sdp_attention: true");
}

void flash_schedule(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen_flash();
  const bool names_version = choice != nullptr && choice->by_name && choice->module != Module::s2;
  if (choice == nullptr || names_version || !facts.is_hopper()) return;
  if (facts.machine().cuda >= kHopperCuda) {
    const std::string other =
        facts.uses_s2() ? "" : "; write attn_implementation: flash_attention_2 for the Ampere one";
    report.note(
        choice->key, choice->mark,
        "flash attention runs with the Hopper schedule (FlashAttention-3) on this GPU" + other);
    return;
  }
  report.note(choice->key, choice->mark,
              "on this Hopper GPU the Ampere schedule is used, because the Hopper schedule needs "
              "CUDA (NVRTC) 12.3 or newer and " +
                  version_text(facts.machine().cuda) + " is here: update CUDA for more speed");
}

void sage_generation(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen(Module::sage);
  const bool is_amd = facts.machine().kind == DeviceKind::amd;
  if (choice == nullptr || !(is_amd || is_below_ampere(facts))) return;
  report.error(choice->key, choice->mark,
               choice->text() +
                   " needs an NVIDIA Ampere, Ada, Hopper or newer GPU, or the CPU "
                   "engine; this machine has " +
                   device_text(facts.machine()) + ": write " +
                   (is_amd ? "flash_attention: true" : "xformers_attention: true") +
                   " or sdp_attention: true");
}

void sage_full_training(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen(Module::sage);
  if (choice == nullptr || facts.config.uses_adapter() || !facts.readable("adapter")) return;
  report.warning(
      choice->key, choice->mark,
      "only LoRA and QLoRA are recommended with " + choice->text() +
          ": losses dropping to 0 in full fine-tuning were reported elsewhere (SageAttention issue "
          "198). Regard has a backward pass for it and watches the loss; write adapter: lora to be "
          "on the safe side");
}

void flex_compile(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen(Module::flex_attention);
  if (choice == nullptr || facts.config.torch_compile != Tristate::no) return;
  report.note(choice->key, choice->mark,
              "torch_compile: true is recommended with flex_attention; without it score programs "
              "run unfused");
}

void flex_programs(const Facts& facts, Report& report) {
  if (facts.chosen(Module::flex_attention) == nullptr) return;
  report_program(facts, "flex_score_mod", facts.score_program, report);
  report_program(facts, "flex_mask_mod", facts.mask_program, report);
}

void xformers_generation(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen(Module::xformers);
  const regard::Machine& machine = facts.machine();
  if (choice == nullptr || machine.kind != DeviceKind::nvidia) return;
  if (machine.compute_capability < kAmpere) return;
  report.note(choice->key, choice->mark,
              "flash attention is faster on " + device_text(machine) +
                  "; xformers is meant for Turing GPUs and below: write flash_attention: true");
}

void cast_to_bf16(const Facts& facts, Report& report) {
  const ModuleChoice* choice = facts.chosen_flash();
  if (choice == nullptr) choice = facts.chosen(Module::sage);
  if (choice == nullptr || !facts.is_gpu() || !trains_in_fp32(facts)) return;
  if (!regard::why_unsupported(choice->module, facts.machine()).empty()) return;  // rules 10 to 14
  report.set(choice->key, choice->mark,
             "bf16 and fp16 are both false: Q, K and V are cast to bf16 at the edge of the " +
                 std::string(choice->module == Module::sage ? "sage" : "flash") +
                 " kernel; the rest trains in fp32");
}

void mask_not_causal(const Facts& facts, Report& report) {
  if (facts.chosen(Module::flex_attention) == nullptr || !facts.mask_program) return;
  if (facts.mask_program->fault) return;
  if (!mask_sees_later_keys(*facts.mask_program->program, facts.config.sequence_len)) return;
  report.note("flex_mask_mod", facts.mark("flex_mask_mod"),
              "the mask is not causal: it lets a query see later keys; add \"q >= kv && ...\" "
              "where the model is to predict the next token");
}

void bf16_choice(const Facts& facts, Report& report) {
  if (!facts.readable("bf16")) return;
  const Config& written = facts.read.config;
  const YamlMark mark = facts.mark("bf16");
  if (written.uses_bf16() && written.fp16) {
    report.error("bf16", mark, "bf16 and fp16 are both true: keep one of them");
  }
  const bool has_bf16 = facts.machine().has_bf16_matrix();
  if (written.uses_bf16() && facts.is_gpu() && !has_bf16) {
    report.error("bf16", mark,
                 "bf16: true needs a GPU with bf16 matrix hardware; this machine has " +
                     device_text(facts.machine()) + ": write bf16: auto, or fp16: true");
  }
  if (written.bf16 != Tristate::automatic) return;
  const std::string reason = written.fp16 ? "fp16 is true"
                             : has_bf16
                                 ? device_text(facts.machine()) + " has bf16 matrix hardware"
                                 : device_text(facts.machine()) + " has no bf16 matrix hardware";
  report.set("bf16", mark,
             "bf16: auto becomes " + std::string(facts.config.uses_bf16() ? "true" : "false") +
                 ", because " + reason);
}

void module_serves_model(const Facts& facts, Report& report) {
  if (!facts.model) return;
  for (const ModuleChoice& choice : facts.choices) {
    const Module module =
        facts.read.config.s2_attention && choice.is_flash() ? Module::s2 : choice.module;
    // What the machine as a whole refuses is rules 10 to 14; this rule is about the model.
    if (!regard::why_unsupported(module, facts.machine()).empty()) continue;
    const std::string reason =
        regard::why_unsupported(module, facts.machine(), model_needs(facts, module));
    if (!reason.empty()) report.error(choice.key, choice.mark, reason);
  }
}

}  // namespace rules
}  // namespace tune
