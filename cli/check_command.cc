// regard check: the rules alone.
#include <cstdio>
#include <iostream>

#include "cli/command_line.h"
#include "tune/error.h"
#include "tune/train/session.h"

namespace cli {
namespace {

regard::ToolkitVersion parse_version(const std::string& text, const char* option) {
  regard::ToolkitVersion version;
  int used = 0;
  const auto size = static_cast<int>(text.size());
  bool whole = std::sscanf(text.c_str(), "%d.%d%n", &version.major, &version.minor, &used) == 2 &&
               used == size;
  if (!whole) {  // "13" is 13.0
    version.minor = 0;
    whole = std::sscanf(text.c_str(), "%d%n", &version.major, &used) == 1 && used == size;
  }
  if (!whole || version.major < 0 || version.minor < 0) {
    throw tune::UsageError(std::string(option) + " '" + text + "': write a version such as 12.4");
  }
  return version;
}

struct MachineOptions {
  std::string name, cuda, rocm;
};

// A version that the rules would never ask for is a mistake, not a wish.
void expect_kind(const regard::Machine& machine, regard::DeviceKind kind, const std::string& option,
                 const std::string& what, const std::string& example) {
  if (machine.kind == kind) return;
  throw tune::UsageError(option + " is of " + what + ", and the machine is " + machine.device_name +
                         ": write --machine " + example + " beside it, or leave it out");
}

regard::Machine described_machine(const MachineOptions& options) {
  regard::Machine machine;
  try {
    machine =
        options.name.empty() ? tune::training_machine() : regard::describe_machine(options.name);
  } catch (const std::exception& error) {
    throw tune::UsageError(std::string("--machine: ") + error.what());
  }
  if (!options.cuda.empty()) {
    expect_kind(machine, regard::DeviceKind::nvidia, "--cuda", "an NVIDIA GPU", "hopper");
    machine.cuda = parse_version(options.cuda, "--cuda");
  }
  if (!options.rocm.empty()) {
    expect_kind(machine, regard::DeviceKind::amd, "--rocm", "an AMD GPU", "mi300");
    machine.rocm = parse_version(options.rocm, "--rocm");
  }
  return machine;
}

}  // namespace

int check_command(const Words& words) {
  CommandLine line("check", "Say what is wrong with a YAML file, without loading anything.");
  MachineOptions options;
  bool as_json = false;
  line.app().add_flag("--json", as_json, "print the findings as a JSON array");
  line.app().add_option("--machine", options.name,
                        "check for a machine that is not here: cpu, pascal, turing, ampere, ada, "
                        "hopper, blackwell, mi300");
  line.app().add_option("--cuda", options.cuda,
                        "CUDA run-time compiler (NVRTC) of an NVIDIA machine, e.g. 12.4");
  line.app().add_option("--rocm", options.rocm, "ROCm of an AMD machine, e.g. 6.2");
  if (!line.parse(words)) return 0;

  const tune::CheckResult result = tune::check_file(
      line.file(), line.check_options(described_machine(options), tune::Purpose::train));
  if (as_json) {
    std::cout << tune::findings_to_json(result.findings) << "\n";
  } else {
    print_findings(result.findings, line.file());
    if (result.ok()) {
      std::cout << line.file() << ": good; attention is "
                << regard::module_info(result.config.attention).name << "\n";
    }
  }
  return result.ok() ? 0 : 2;
}

}  // namespace cli
