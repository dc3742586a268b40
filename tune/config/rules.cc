#include "tune/config/rules.h"

#include <array>
#include <utility>

namespace tune {
namespace {

constexpr PurposeSet kTrain = in_set(Purpose::train);
constexpr PurposeSet kPrepare = in_set(Purpose::preprocess);
constexpr PurposeSet kInfer = in_set(Purpose::infer);
constexpr PurposeSet kMerge = in_set(Purpose::merge);
constexpr PurposeSet kEvaluate = in_set(Purpose::evaluate);
constexpr PurposeSet kAttends = kTrain | kInfer | kEvaluate;
constexpr PurposeSet kReadsData = kTrain | kPrepare | kEvaluate;
constexpr PurposeSet kAll = kAttends | kPrepare | kMerge;

// A merge attends to nothing and packs nothing, so it hears of neither.
constexpr std::array<Rule, 33> kRules = {{
    {1, kAttends | kPrepare, rules::one_boolean},
    {2, kAttends | kPrepare, rules::boolean_or_name},
    {3, kAttends | kPrepare, rules::canonical_name},
    {4, kAttends, rules::default_module},
    {5, kAttends | kPrepare, rules::s2_needs_flash},
    {6, kReadsData, rules::s2_without_packing},
    {7, kAttends, rules::s2_llama_only},
    {8, kAttends, rules::s2_deprecated},
    {9, kAttends, rules::s2_shape},
    {10, kAttends, rules::flash_generation},
    {11, kAttends, rules::flash3_hopper},
    {12, kAttends, rules::flash_rocm},
    {13, kAttends, rules::flash_schedule},
    {14, kAttends, rules::sage_generation},
    {15, kTrain, rules::sage_full_training},
    {16, kAttends, rules::flex_compile},
    {17, kAttends, rules::flex_programs},
    {18, kAttends, rules::xformers_generation},
    {19, kTrain, rules::cast_to_bf16},
    {20, kReadsData, rules::packing_sets},
    {21, kAttends, rules::mask_not_causal},
    {22, kAttends, rules::bf16_choice},
    {23, kAttends, rules::quantised_weights},
    {24, kReadsData, rules::key_pairs},
    {25, kReadsData | kInfer, rules::reporting_key},
    {26, kAll, rules::unsupported_key},
    {27, kAll, rules::unknown_key},
    {28, kAll, rules::value_faults},
    {29, kTrain | kPrepare, rules::longer_than_model},
    {30, kAttends, rules::module_serves_model},
    {31, kAll, rules::required_keys},
    {32, kAll, rules::model_found},
    {33, kReadsData, rules::data_found},
}};

}  // namespace

void Report::add(Severity severity, std::string key, YamlMark mark, std::string message) {
  Finding finding;
  finding.rule = rule_;
  finding.severity = severity;
  if (!key.empty()) finding.key = std::move(key);
  if (mark.line > 0) {
    finding.line = mark.line;
    finding.column = mark.column;
  }
  finding.message = std::move(message);
  findings_.push_back(std::move(finding));
}

std::span<const Rule> rule_table() { return kRules; }

std::vector<Finding> apply_rules(const Facts& facts) {
  std::vector<Finding> findings;
  for (const Rule& rule : kRules) {
    if ((rule.purposes & in_set(facts.options.purpose)) == 0) continue;
    Report report(rule.number, findings);
    rule.apply(facts, report);
  }
  return findings;
}

}  // namespace tune
