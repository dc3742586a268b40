#include "cli/command_line.h"

#include <algorithm>
#include <iostream>
#include <string_view>

#include "cli/arguments.h"
#include "tune/config/schema.h"
#include "tune/error.h"
#include "tune/train/session.h"

namespace cli {

namespace {

using Overrides = std::vector<std::pair<std::string, std::string>>;

// "--bf16 run.yml" reads as bf16's value; where FILE is missing that is the likely mistake.
std::string swallowed_file(const Overrides& overrides) {
  for (const auto& [key, value] : overrides) {
    for (const std::string_view ending : {".yml", ".yaml"}) {
      if (value.size() > ending.size() && value.ends_with(ending))
        return "\n--" + key + " took " + value + " as its value: write FILE before it";
    }
  }
  return "";
}

}  // namespace

CommandLine::CommandLine(const std::string& name, const std::string& summary, bool takes_file)
    : app_(summary, "regard " + name), takes_file_(takes_file) {
  if (!takes_file) return;
  app_.add_option("FILE", file_, "the YAML configuration")->required();
  app_.footer("Any key of the file can be overridden as --key value.");
}

bool CommandLine::parse(const Words& words) {
  Words options, flags;
  for (const CLI::Option* option : app_.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      (option->get_items_expected_max() == 0 ? flags : options).push_back(name);
    }
  }
  Arguments split = split_arguments(words, options, flags);
  overrides_ = std::move(split.overrides);
  own_options_ = std::move(options);
  own_options_.insert(own_options_.end(), flags.begin(), flags.end());
  if (!takes_file_) refuse_overrides();
  try {
    std::reverse(split.own.begin(), split.own.end());  // CLI11 reads its vector from the back
    app_.parse(split.own);
  } catch (const CLI::CallForHelp&) {
    std::cout << app_.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw tune::UsageError(error.what() + (file_.empty() ? swallowed_file(overrides_) : "") +
                           "\nusage: " + app_.get_name() + (takes_file_ ? " FILE.yml" : "") +
                           " [OPTIONS]; " + app_.get_name() + " --help lists them");
  }
  return true;
}

void CommandLine::refuse_overrides() const {
  if (overrides_.empty()) return;
  const std::string& name = overrides_.front().first;
  const std::string nearest = tune::nearest_key(name, own_options_);
  throw tune::UsageError("--" + name + " is not an option of " + app_.get_name() +
                         (nearest.empty() ? "" : "; the nearest is --" + nearest) +
                         "\nusage: " + app_.get_name() + " [OPTIONS]; --help lists them");
}

tune::CheckOptions CommandLine::check_options(regard::Machine machine,
                                              tune::Purpose purpose) const {
  return {std::move(machine), purpose, overrides_, own_options_};
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
      tune::check_file(file_, check_options(tune::training_machine(), purpose));
  if (purpose != tune::Purpose::train) {
    std::erase_if(result.findings,
                  [](const tune::Finding& f) { return f.severity == tune::Severity::set; });
  }
  print_findings(result.findings, file_);
  if (!result.ok()) throw tune::UsageError(file_ + " cannot be used; see above");
  return std::move(result.config);
}

}  // namespace cli
