// Reading a configuration file: parse, schema, rules, defaults. Nothing is printed and no weight is
// read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "regard/machine.h"
#include "tune/config/config.h"

namespace tune {

enum class Severity : uint8_t { error, warning, note, set };
std::string_view severity_name(Severity severity);  // "error" | "warning" | "note" | "set"

// One finding of a rule of docs/rules.md.
struct Finding {
  int rule = 0;
  Severity severity = Severity::error;
  std::optional<std::string> key;     // with its path: "datasets[0].typ"
  std::optional<int> line, column;    // 1-based; none for overrides and for defaults
  std::optional<std::string> option;  // "--learning_rate": an override says so, not the file
  std::string message;                // what is wrong and what to write instead
};

struct CheckResult {
  Config config;                  // complete when ok()
  std::vector<Finding> findings;  // in order of line, all that apply
  bool ok() const;                // no finding is an error
};

enum class Purpose : uint8_t { train, preprocess, infer, merge, evaluate };

struct CheckOptions {
  regard::Machine machine;
  Purpose purpose = Purpose::train;
  // --key value pairs of the command line, replacing or adding top-level keys ("a.b" for nested
  // ones).
  std::vector<std::pair<std::string, std::string>> overrides;
  // Long names of the command's own options ("max-new-tokens"), which a mistyped override may have
  // meant.
  std::vector<std::string> command_options{};
};

// Reads and checks one file. A file that cannot be read or parsed gives a rule 28 finding, never an
// exception.
CheckResult check_file(const std::string& path, const CheckOptions& options);
// The same for a text; `path` is only used in messages and to resolve relative paths.
CheckResult check_text(std::string_view text, const std::string& path, const CheckOptions& options);

// "FILE:LINE:COLUMN: error: message [rule N]", one line a finding; "--key: error: ..." for what an
// option of the command line says.
std::string format_finding(const Finding& finding, const std::string& path);
// The array that `regard check --json` prints.
std::string findings_to_json(const std::vector<Finding>& findings);

// The configuration as YAML that reads back to the same Config, written beside results.
std::string config_to_yaml(const Config& config);
// The reference of all keys as Markdown (docs/keys.md is generated from it).
std::string key_reference_markdown();

// Called when a run starts: throws UsageError "X is not built yet in this version; use ..." for
// keys that parse and pass the rules but cannot be carried out: load_in_8bit and fp16.
void require_built(const Config& config);

}  // namespace tune
