// What the commands that read a configuration file share: parsing their words, checking the file,
// printing findings.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "tune/config/check.h"

namespace cli {

// A command's parser. Declares the positional FILE and lets the command add its own options; every
// other --key value is an override of the file. A command without a file takes neither.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& summary, bool takes_file = true);

  CLI::App& app() { return app_; }
  // Parses; returns false when --help was printed. Throws tune::UsageError with the parser's
  // sentence.
  bool parse(const Words& words);

  const std::string& file() const { return file_; }
  // What the file is checked with: the overrides, and the options they may be misspellings of.
  tune::CheckOptions check_options(regard::Machine machine, tune::Purpose purpose) const;

  // Checks the file for what computes here (tune::training_machine()); prints findings to stderr
  // (values that rules set only to train, where they matter) and returns the configuration. Throws
  // tune::UsageError when a finding is an error.
  tune::Config checked_config(tune::Purpose purpose) const;

 private:
  void refuse_overrides() const;

  CLI::App app_;
  bool takes_file_;
  std::string file_;
  Words own_options_;  // long names, complete after parse()
  std::vector<std::pair<std::string, std::string>> overrides_;
};

// Prints findings to stderr, errors last so that they stay in sight.
void print_findings(const std::vector<tune::Finding>& findings, const std::string& path);

}  // namespace cli
