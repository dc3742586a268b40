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
// other --key value is an override of the file.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& summary, bool file_required = true);

  CLI::App& app() { return app_; }
  // Parses; returns false when --help was printed. Throws tune::UsageError with the parser's
  // sentence.
  bool parse(const Words& words);

  const std::string& file() const { return file_; }
  const std::vector<std::pair<std::string, std::string>>& overrides() const { return overrides_; }

  // Checks the file for this computer's CPU, which is what computes in this version whatever GPU is
  // beside it; prints findings to stderr and returns the configuration. Throws tune::UsageError
  // when a finding is an error.
  tune::Config checked_config(tune::Purpose purpose) const;

 private:
  CLI::App app_;
  std::string file_;
  std::vector<std::pair<std::string, std::string>> overrides_;
};

// Prints findings to stderr, errors last so that they stay in sight.
void print_findings(const std::vector<tune::Finding>& findings, const std::string& path);

}  // namespace cli
