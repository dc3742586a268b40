#include "cli/command_line.h"

#include <algorithm>
#include <iostream>

#include "cli/arguments.h"
#include "tune/error.h"

namespace cli {

CommandLine::CommandLine(const std::string& name, const std::string& summary, bool file_required)
    : app_(summary, "regard " + name) {
  app_.add_option("FILE", file_, "the YAML configuration")->required(file_required);
  app_.footer("Any key of the file can be overridden as --key value.");
}

bool CommandLine::parse(const Words& words) {
  Words options, flags = {"help"};
  for (const CLI::Option* option : app_.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      (option->get_items_expected_max() == 0 ? flags : options).push_back(name);
    }
  }
  Arguments split = split_arguments(words, options, flags);
  overrides_ = std::move(split.overrides);
  try {
    std::reverse(split.own.begin(), split.own.end());  // CLI11 reads its vector from the back
    app_.parse(split.own);
  } catch (const CLI::CallForHelp&) {
    std::cout << app_.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw tune::UsageError(std::string(error.what()) + "\nusage: " + app_.get_name() +
                           " FILE.yml [OPTIONS]; " + app_.get_name() + " --help lists them");
  }
  return true;
}

void print_findings(const std::vector<tune::Finding>& findings, const std::string& path) {
  std::vector<tune::Finding> sorted = findings;
  std::stable_partition(sorted.begin(), sorted.end(),
                        [](const tune::Finding& f) { return f.severity != tune::Severity::error; });
  for (const tune::Finding& finding : sorted)
    std::cerr << tune::format_finding(finding, path) << "\n";
}

tune::Config CommandLine::checked_config(tune::Purpose purpose) const {
  tune::CheckResult result =
      tune::check_file(file_, {regard::detect_cpu_machine(), purpose, overrides_});
  print_findings(result.findings, file_);
  if (!result.ok()) throw tune::UsageError(file_ + " cannot be used; see above");
  return std::move(result.config);
}

}  // namespace cli
