// Every back end against the reference over the whole table of cases, forward and backward.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "api/backends.h"
#include "core/features.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

class AttentionTable : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override { set_num_threads(0); }

  static AttentionResults run(const AttentionJudge& judge, const api::BackendEntry& entry,
                              int num_threads) {
    AttentionResults results(judge.config(), judge.operands());
    set_num_threads(num_threads);
    attention_forward(judge.problem(), results.outputs(), entry.backend);
    if (runs_backward(judge, entry)) {
      attention_backward(judge.problem(), results.tensors(judge.operands()), entry.backend);
    }
    return results;
  }
  static bool runs_backward(const AttentionJudge& judge, const api::BackendEntry& entry) {
    return entry.backward != nullptr && has_backward(judge.problem());
  }
};

// What the back end says it cannot do; "" when it has to get the case right.
std::string refusal_of(const AttentionCase& config, const CaseOperands& operands,
                       const api::BackendEntry& entry) {
  AttentionResults results(config, operands);
  const BackwardTensors tensors = results.tensors(operands);
  const bool runs_backward = entry.backward != nullptr && has_backward(operands.problem());
  return api::why_unsupported(entry, operands.problem(), runs_backward ? &tensors : nullptr);
}

TEST_P(AttentionTable, EveryBackend_AgreesWithReferenceAtEveryThreadCount) {
  const AttentionJudge judge(GetParam());
  for (const api::BackendEntry& entry : api::backends()) {
    // The judge itself, and those that refuse the case.
    if (entry.backend == Backend::reference ||
        !refusal_of(judge.config(), judge.operands(), entry).empty()) {
      continue;
    }
    SCOPED_TRACE(std::string(entry.name) + " " + judge.config().id());
    const AttentionResults one = run(judge, entry, 1);
    if (runs_backward(judge, entry)) {
      judge.expect_right(one);
    } else {
      judge.expect_forward_right(one);
    }
    for (const int num_threads : {2, 3}) {
      EXPECT_TRUE(run(judge, entry, num_threads).has_same_bits(one)) << num_threads << " threads";
    }
  }
}

std::string id_of(const ::testing::TestParamInfo<AttentionCase>& info) { return info.param.id(); }

INSTANTIATE_TEST_SUITE_P(Cases, AttentionTable, ::testing::ValuesIn(attention_table()), id_of);

// A back end that refuses what it should serve would leave the table green.
TEST(AttentionTableList, EveryFeatureAndGradient_IsJudgedOnTheEngine) {
  // int8 scores have their own tests: the plain formula does not know them.
  constexpr uint32_t kJudgedElsewhere =
      core::bit(core::Feature::int8_scores) | core::bit(core::Feature::rounded_values);
  std::map<std::string, std::map<std::string, int>> judged;  // by back end and feature
  for (const AttentionCase& config : attention_table()) {
    const CaseOperands operands(config);
    AttentionResults results(config, operands);
    const BackwardTensors tensors = results.tensors(operands);
    for (const api::BackendEntry& entry : api::backends()) {
      if (entry.backend == Backend::reference || !refusal_of(config, operands, entry).empty()) {
        continue;
      }
      std::map<std::string, int>& counts = judged[std::string(entry.name)];
      ++counts["all"];
      for (int i = 0; i < core::kNumFeatures; ++i) {
        const auto feature = static_cast<core::Feature>(i);
        counts[core::name_of(feature)] += core::uses(operands.problem(), feature) ? 1 : 0;
      }
      for (int i = 0; i < core::kNumGradients; ++i) {
        const auto gradient = static_cast<core::Gradient>(i);
        counts[core::name_of(gradient)] += core::asks_for(tensors, gradient) ? 1 : 0;
      }
    }
  }
  for (int i = 0; i < core::kNumFeatures; ++i) {
    const auto feature = static_cast<core::Feature>(i);
    if ((core::bit(feature) & kJudgedElsewhere) == 0) {
      EXPECT_GE(judged["cpu_tiled"][core::name_of(feature)], 100) << core::name_of(feature);
    }
  }
  for (int i = 0; i < core::kNumGradients; ++i) {
    const char* gradient = core::name_of(static_cast<core::Gradient>(i));
    EXPECT_GE(judged["cpu_tiled"][gradient], 100) << gradient;
  }
  EXPECT_GE(judged["cpu_eager"]["all"], 2000);
  EXPECT_GE(judged["cpu_decode"]["all"], 300);
  for (const auto& [name, counts] : judged) {
    for (const auto& [what, count] : counts) {
      RecordProperty(name + " " + what, count);
    }
  }
}

TEST(AttentionTableList, AllCases_AreAtLeastThreeThousandAndDistinct) {
  const std::vector<AttentionCase> cases = attention_table();
  std::set<std::string> ids;
  for (const AttentionCase& config : cases) {
    ids.insert(config.id());
  }
  EXPECT_GE(cases.size(), 3000u);
  EXPECT_EQ(ids.size(), cases.size());
}

TEST(ForcedTarget, EnvironmentVariable_IsTheTargetThatRuns) {
  const char* forced = std::getenv("REGARD_FORCE_TARGET");
  if (forced == nullptr) {
    GTEST_SKIP() << "REGARD_FORCE_TARGET is not set";
  }
  EXPECT_EQ(active_target(), forced);
}

}  // namespace
}  // namespace regard::testing
