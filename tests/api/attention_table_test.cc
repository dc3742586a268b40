// Every back end against the reference over the whole table of cases, forward and backward.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "api/backends.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

constexpr uint32_t kRandomSeed = 20240611;
constexpr int kNumRandomCases = 2200;

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
  // What the back end says it cannot do; "" when it has to get the case right.
  static std::string refusal_of(const AttentionJudge& judge, const api::BackendEntry& entry) {
    AttentionResults results(judge.config(), judge.operands());
    const BackwardTensors tensors = results.tensors(judge.operands());
    return api::why_unsupported(entry, judge.problem(),
                                runs_backward(judge, entry) ? &tensors : nullptr);
  }
};

TEST_P(AttentionTable, EveryBackend_AgreesWithReferenceAtEveryThreadCount) {
  const AttentionJudge judge(GetParam());
  for (const api::BackendEntry& entry : api::backends()) {
    // The judge itself, and those that refuse the case.
    if (entry.backend == Backend::reference || !refusal_of(judge, entry).empty()) {
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

INSTANTIATE_TEST_SUITE_P(Grid, AttentionTable, ::testing::ValuesIn(grid_cases()), id_of);
INSTANTIATE_TEST_SUITE_P(Random, AttentionTable,
                         ::testing::ValuesIn(random_cases(kNumRandomCases, kRandomSeed)), id_of);
INSTANTIATE_TEST_SUITE_P(Large, AttentionTable, ::testing::ValuesIn(large_cases()), id_of);

TEST(AttentionTableList, AllCases_AreAtLeastThreeThousandAndDistinct) {
  std::set<std::string> ids;
  size_t count = 0;
  for (const auto& cases :
       {grid_cases(), random_cases(kNumRandomCases, kRandomSeed), large_cases()}) {
    for (const AttentionCase& config : cases) {
      ids.insert(config.id());
      ++count;
    }
  }
  EXPECT_GE(count, 3000u);
  EXPECT_EQ(ids.size(), count);
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
