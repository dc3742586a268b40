// One function a command of the regard program. Each gets the words after its name and returns the
// exit code; tune::UsageError means 2 and any other exception 1 (main.cc prints them).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

using Words = std::vector<std::string>;

int train_command(const Words& words);
int check_command(const Words& words);
int preprocess_command(const Words& words);
int infer_command(const Words& words);
int merge_command(const Words& words);
int evaluate_command(const Words& words);
int warmup_command(const Words& words);
int doctor_command(const Words& words);

struct Command {
  std::string_view name, summary;
  int (*run)(const Words&);
};

// All commands, in the order of `regard --help`.
std::span<const Command> commands();

}  // namespace cli
