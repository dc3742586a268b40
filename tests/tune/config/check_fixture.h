// A complete small configuration, a model folder that holds a shape and no weights, and described
// machines: what every test of the rules starts from.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "regard/machine.h"
#include "tests/support/temp_folder.h"
#include "tune/config/check.h"

namespace tune {

// The shape that a test's model claims to have.
struct ModelShape {
  std::string model_type = "llama";
  int heads = 4, head_dim = 16, max_positions = 8192;
};

class RuleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_model({});
    write_file("data.jsonl", "{}\n");
  }

  std::string model() const { return (folder_ / "model").string(); }

  void write_file(const std::string& name, const std::string& text) const {
    temp_.write(name, text);
  }

  void write_model(const ModelShape& shape) const {
    const std::string heads = std::to_string(shape.heads);
    std::string klass = shape.model_type;
    klass[0] = static_cast<char>(klass[0] - 'a' + 'A');
    write_file("model/config.json",
               "{\"model_type\": \"" + shape.model_type + "\", \"architectures\": [\"" + klass +
                   "ForCausalLM\"], \"vocab_size\": 64, \"hidden_size\": " +
                   std::to_string(shape.heads * shape.head_dim) +
                   ", \"intermediate_size\": 64, \"num_hidden_layers\": 1, "
                   "\"num_attention_heads\": " +
                   heads + ", \"num_key_value_heads\": " + heads +
                   ", \"head_dim\": " + std::to_string(shape.head_dim) +
                   ", \"max_position_embeddings\": " + std::to_string(shape.max_positions) +
                   ", \"rms_norm_eps\": 1e-5}");
  }

  // `lines` first, so that their numbers count from 1, then the rest of a complete file.
  std::string file(const std::string& lines) const {
    return lines + "base_model: " + model() +
           "\ndatasets:\n  - path: " + (folder_ / "data.jsonl").string() +
           "\n    type: alpaca\nlearning_rate: 2e-4\n"
           "micro_batch_size: 2\ngradient_accumulation_steps: 4\n";
  }

  CheckResult check(const std::string& lines, const std::string& machine = "cpu",
                    Purpose purpose = Purpose::train) const {
    return check(lines, regard::describe_machine(machine), purpose);
  }
  CheckResult check(const std::string& lines, const regard::Machine& machine,
                    Purpose purpose = Purpose::train) const {
    return check_text(file(lines), (folder_ / "run.yml").string(), {machine, purpose, {}});
  }

  test_support::TempFolder temp_;
  const std::filesystem::path folder_ = temp_.path();
};

inline std::vector<Finding> findings_of(const CheckResult& result, int rule) {
  std::vector<Finding> found;
  std::copy_if(result.findings.begin(), result.findings.end(), std::back_inserter(found),
               [rule](const Finding& finding) { return finding.rule == rule; });
  return found;
}

inline std::string all_findings(const CheckResult& result) {
  std::string text;
  for (const Finding& finding : result.findings) text += format_finding(finding, "run.yml") + "\n";
  return text;
}

// Exactly one finding of `rule`, with this severity, key and line (0 = none), and every word of
// `words` in its message.
inline void expect_one(const CheckResult& result, int rule, Severity severity,
                       const std::string& key, int line,
                       const std::vector<std::string>& words = {}) {
  const std::vector<Finding> found = findings_of(result, rule);
  ASSERT_EQ(found.size(), 1u) << "rule " << rule << " in:\n" << all_findings(result);
  EXPECT_EQ(severity_name(found[0].severity), severity_name(severity)) << all_findings(result);
  EXPECT_EQ(found[0].key.value_or(""), key) << all_findings(result);
  EXPECT_EQ(found[0].line.value_or(0), line) << all_findings(result);
  for (const std::string& word : words) {
    EXPECT_NE(found[0].message.find(word), std::string::npos) << word << " in:\n"
                                                              << found[0].message;
  }
}

inline void expect_none(const CheckResult& result, int rule) {
  EXPECT_TRUE(findings_of(result, rule).empty()) << "rule " << rule << " in:\n"
                                                 << all_findings(result);
}

inline regard::Machine machine_with(const std::string& name, regard::ToolkitVersion version) {
  regard::Machine machine = regard::describe_machine(name);
  (machine.kind == regard::DeviceKind::amd ? machine.rocm : machine.cuda) = version;
  return machine;
}

}  // namespace tune
