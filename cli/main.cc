// regard: the only place that prints or exits.
#include <array>
#include <exception>
#include <iostream>
#include <string>

#include "cli/commands.h"
#include "regard/attention.h"
#include "tune/error.h"

namespace cli {

std::span<const Command> commands() {
  static constexpr std::array<Command, 8> kCommands = {{
      {"train", "fine-tune a model as a YAML file says", train_command},
      {"check", "say what is wrong with a YAML file, without loading anything", check_command},
      {"preprocess", "tokenize and cache the data of a YAML file", preprocess_command},
      {"infer", "ask a model, with or without its adapter", infer_command},
      {"merge-lora", "write base model and adapter as one model", merge_command},
      {"evaluate", "loss and perplexity on the validation rows", evaluate_command},
      {"warmup", "compile the attention kernels of a YAML file before they are needed",
       warmup_command},
      {"doctor", "what this machine is and which attention modules run on it", doctor_command},
  }};
  return kCommands;
}

namespace {

void print_help(std::ostream& out) {
  out << "Regard " << regard::version()
      << ": fine-tune language models with the attention module you name\n\n"
      << "usage: regard COMMAND [FILE.yml] [OPTIONS] [--key value ...]\n\ncommands:\n";
  for (const Command& command : commands()) {
    out << "  " << command.name << std::string(12 - command.name.size(), ' ') << command.summary
        << "\n";
  }
  out << "\nAny key of the YAML file can be given as --key value, for example --learning_rate "
         "1e-4.\n"
         "'regard COMMAND --help' lists a command's options.\n"
         "Exit code: 0 done, 1 the run failed, 2 the file or the usage is wrong, 130 interrupted "
         "after saving.\n";
}

int run(const Words& words) {
  if (words.empty()) {
    print_help(std::cerr);
    return 2;
  }
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_help(std::cout);
    return 0;
  }
  if (words[0] == "--version") {
    std::cout << regard::version() << "\n";
    return 0;
  }
  for (const Command& command : commands()) {
    if (command.name == words[0]) return command.run(Words(words.begin() + 1, words.end()));
  }
  std::cerr << "error: '" << words[0] << "' is not a command of regard\n\n";
  print_help(std::cerr);
  return 2;
}

}  // namespace
}  // namespace cli

int main(int argc, char** argv) {
  try {
    return cli::run(cli::Words(argv + 1, argv + argc));
  } catch (const tune::UsageError& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
