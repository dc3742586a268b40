#include "tune/config/check.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "tune/config/facts.h"
#include "tune/config/overrides.h"
#include "tune/config/read_config.h"
#include "tune/config/rules.h"
#include "tune/config/yaml_tree.h"
#include "tune/error.h"

namespace tune {
namespace {

Finding text_fault(std::string message, YamlMark mark = {}) {
  std::vector<Finding> findings;
  Report(28, findings).error("", mark, std::move(message));
  return findings.front();
}

CheckResult refused(Finding finding, const std::string& path) {
  CheckResult result;
  result.config.source_path = path;
  result.findings.push_back(std::move(finding));
  return result;
}

// By line and column; what has no place in the file comes last, by rule.
void sort_findings(std::vector<Finding>& findings) {
  static constexpr int kLast = std::numeric_limits<int>::max();
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    const int line_a = a.line.value_or(kLast), line_b = b.line.value_or(kLast);
    if (line_a != line_b) return line_a < line_b;
    return a.column.value_or(kLast) < b.column.value_or(kLast);
  });
}

// Up to one byte more than a configuration may have; a folder or a device is an error.
std::optional<std::string> read_text(const std::string& path, std::string& text) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::string(errno != 0 ? std::strerror(errno) : "cannot be opened");
  text.resize(kMaxConfigBytes + 1);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && errno != 0)) {
    return std::string(errno != 0 ? std::strerror(errno) : "cannot be read");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return std::nullopt;
}

constexpr const char* kExample =
    "write a mapping such as 'base_model: MODEL' with one key on a line";

std::optional<Finding> root_fault(const YamlDocument& document) {
  if (document.fault) return text_fault(document.fault->message, document.fault->mark);
  if (document.root.is_null()) {
    return text_fault(std::string("the file is empty: ") + kExample, {1, 1});
  }
  if (document.root.kind != YamlNode::Kind::mapping) {
    return text_fault("the file is " + std::string(yaml_kind_name(document.root)) +
                          ", not a mapping: " + kExample,
                      document.root.mark);
  }
  return std::nullopt;
}

}  // namespace

bool CheckResult::ok() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.severity == Severity::error; });
}

CheckResult check_text(std::string_view text, const std::string& path,
                       const CheckOptions& options) {
  YamlDocument document = parse_yaml(text);
  if (std::optional<Finding> fault = root_fault(document)) return refused(*fault, path);
  std::vector<ValueFault> faults = find_duplicate_keys(document.root);
  for (ValueFault& fault : apply_overrides(document.root, options.overrides)) {
    faults.push_back(std::move(fault));
  }
  ReadResult read = read_config(document.root);
  read.config.source_path = path;
  const Facts facts = gather_facts(document.root, read, std::move(faults), options);
  CheckResult result;
  result.config = facts.config;
  result.findings = apply_rules(facts);
  for (Finding& finding : result.findings) {
    if (!finding.line && finding.key)
      finding.option = overriding_option(*finding.key, options.overrides);
  }
  sort_findings(result.findings);
  return result;
}

CheckResult check_file(const std::string& path, const CheckOptions& options) {
  std::string text;
  if (const std::optional<std::string> reason = read_text(path, text)) {
    return refused(text_fault("the file cannot be read: " + *reason), path);
  }
  return check_text(text, path, options);
}

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::error:
      return "error";
    case Severity::warning:
      return "warning";
    case Severity::note:
      return "note";
    case Severity::set:
      return "set";
  }
  return "error";
}

std::string format_finding(const Finding& finding, const std::string& path) {
  std::string place = finding.option.value_or(path);
  if (finding.line) place.append(":").append(std::to_string(*finding.line));
  if (finding.line && finding.column) place.append(":").append(std::to_string(*finding.column));
  return place + ": " + std::string(severity_name(finding.severity)) + ": " + finding.message +
         " [rule " + std::to_string(finding.rule) + "]";
}

std::string findings_to_json(const std::vector<Finding>& findings) {
  using Json = nlohmann::ordered_json;
  Json array = Json::array();
  for (const Finding& finding : findings) {
    Json entry;
    entry["rule"] = finding.rule;
    entry["severity"] = severity_name(finding.severity);
    entry["key"] = finding.key ? Json(*finding.key) : Json(nullptr);
    entry["line"] = finding.line ? Json(*finding.line) : Json(nullptr);
    entry["column"] = finding.column ? Json(*finding.column) : Json(nullptr);
    entry["message"] = finding.message;
    array.push_back(std::move(entry));
  }
  // A path of the operating system need not be UTF-8; JSON must be.
  return array.dump(2, ' ', false, Json::error_handler_t::replace);
}

void require_built(const Config& config) {
  if (config.load_in_8bit) {
    throw UsageError(config.source_path +
                     ": load_in_8bit is not built yet in this version; use load_in_4bit: true with "
                     "adapter: qlora, or remove it");
  }
  if (config.fp16) {
    throw UsageError(config.source_path +
                     ": fp16 training is not built yet in this version; use bf16: true or bf16: "
                     "false");
  }
}

}  // namespace tune
