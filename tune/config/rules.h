// The rules of a configuration file, one row a rule. docs/rules.md is the same table in words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tune/config/check.h"
#include "tune/config/facts.h"

namespace tune {

// Collects the findings of one rule.
class Report {
 public:
  Report(int rule, std::vector<Finding>& findings) : rule_(rule), findings_(findings) {}

  void error(std::string key, YamlMark mark, std::string message) {
    add(Severity::error, std::move(key), mark, std::move(message));
  }
  void warning(std::string key, YamlMark mark, std::string message) {
    add(Severity::warning, std::move(key), mark, std::move(message));
  }
  void note(std::string key, YamlMark mark, std::string message) {
    add(Severity::note, std::move(key), mark, std::move(message));
  }
  void set(std::string key, YamlMark mark, std::string message) {
    add(Severity::set, std::move(key), mark, std::move(message));
  }

 private:
  // An empty key and a mark of 0 are "none".
  void add(Severity severity, std::string key, YamlMark mark, std::string message);

  int rule_;
  std::vector<Finding>& findings_;
};

// For which commands a rule is asked, as a set.
using PurposeSet = uint8_t;
constexpr PurposeSet in_set(Purpose purpose) {
  return static_cast<PurposeSet>(1u << static_cast<unsigned>(purpose));
}

struct Rule {
  int number;
  PurposeSet purposes;
  void (*apply)(const Facts& facts, Report& report);
};

// All rows, by number.
std::span<const Rule> rule_table();

// Applies every row that the purpose asks for; findings in the order of the rows.
std::vector<Finding> apply_rules(const Facts& facts);

// The rows, by subject.
namespace rules {

// Which module (rules_choice.cc)
void one_boolean(const Facts&, Report&);
void boolean_or_name(const Facts&, Report&);
void canonical_name(const Facts&, Report&);
void default_module(const Facts&, Report&);
// Shifted sparse attention (rules_choice.cc)
void s2_needs_flash(const Facts&, Report&);
void s2_without_packing(const Facts&, Report&);
void s2_llama_only(const Facts&, Report&);
void s2_deprecated(const Facts&, Report&);
void s2_shape(const Facts&, Report&);
// Machine and model (rules_machine.cc)
void flash_generation(const Facts&, Report&);
void flash3_hopper(const Facts&, Report&);
void flash_rocm(const Facts&, Report&);
void flash_schedule(const Facts&, Report&);
void sage_generation(const Facts&, Report&);
void sage_full_training(const Facts&, Report&);
void flex_compile(const Facts&, Report&);
void flex_programs(const Facts&, Report&);
void xformers_generation(const Facts&, Report&);
void cast_to_bf16(const Facts&, Report&);
void mask_not_causal(const Facts&, Report&);
void bf16_choice(const Facts&, Report&);
void module_serves_model(const Facts&, Report&);
// Training (rules_training.cc)
void packing_sets(const Facts&, Report&);
void quantised_weights(const Facts&, Report&);
void key_pairs(const Facts&, Report&);
void longer_than_model(const Facts&, Report&);
void required_keys(const Facts&, Report&);
void model_found(const Facts&, Report&);
void data_found(const Facts&, Report&);
// Keys and values (rules_keys.cc)
void reporting_key(const Facts&, Report&);
void unsupported_key(const Facts&, Report&);
void unknown_key(const Facts&, Report&);
void value_faults(const Facts&, Report&);

}  // namespace rules

}  // namespace tune
