// regard warmup: compiles a file's attention kernels before they are needed.
#include <chrono>
#include <cstdio>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "regard/modules.h"
#include "tune/error.h"
#include "tune/files/model_config.h"
#include "tune/model/attention_probe.h"
#include "tune/train/session.h"

namespace cli {
namespace {

// Of this machine's GPU, or as --arch says.
int compute_capability_of(int arch) {
  if (arch != 0) return arch;
  const regard::Machine machine = regard::detect_machine();
  if (machine.kind != regard::DeviceKind::nvidia) {
    throw tune::UsageError(
        "this machine has no NVIDIA GPU; name the one to compile for: --arch 75, 80, 86, 89, 90, "
        "100 or 120");
  }
  return machine.compute_capability;
}

}  // namespace

int warmup_command(const Words& words) {
  CommandLine line("warmup", "Compile the attention kernels that a YAML file's training needs.");
  int arch = 0;
  line.app().add_option("--arch", arch,
                        "compute capability of the GPU, e.g. 90; default: this machine's");
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::train);
  tune::require_built(config);
  const int compute_capability = compute_capability_of(arch);
  const tune::ModelOptions options = tune::model_options(config);
  const auto start = std::chrono::steady_clock::now();
  tune::compile_attention(tune::read_model_config(config.base_model), options,
                          config.sequence_len * config.micro_batch_size, compute_capability);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%s for compute capability %d: ready (%.1f s)\n",
              std::string(regard::module_info(options.attention).name).c_str(), compute_capability,
              seconds.count());
  return 0;
}

}  // namespace cli
