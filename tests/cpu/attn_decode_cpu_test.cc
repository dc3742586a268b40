// The decode kernel on every SIMD target of the CPU, against the reference, and its plan.
#include <gtest/gtest.h>

#include <string>

#include "cpu/attn_decode_cpu.h"
#include "cpu/cpu_attention.h"
#include "cpu/target.h"
#include "kernel_cases.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

class AttnDecodeCpu : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }

  // The kernel itself, which serves any number of rows.
  static AttentionResults run(const AttentionCase& config, const CaseOperands& operands) {
    AttentionResults results(config, operands);
    cpu::forward_decode(operands.problem(), results.outputs());
    return results;
  }
};

TEST_P(AttnDecodeCpu, EveryTarget_AgreesWithReference) {
  const AttentionJudge judge(GetParam());
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target + ", seed " + std::to_string(judge.config().seed));
    cpu::force_target(target);
    judge.expect_forward_right(run(judge.config(), judge.operands()));
  }
}

TEST_P(AttnDecodeCpu, EveryThreadCount_GivesTheSameBits) {
  const CaseOperands operands(GetParam());
  set_num_threads(1);
  const AttentionResults expected = run(GetParam(), operands);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_TRUE(run(GetParam(), operands).has_same_bits(expected)) << threads << " threads";
  }
}

// One query row each against a cache of several parts, in every dtype and group size.
std::vector<AttentionCase> decode_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t group : {1, 2, 3, 5, 8, 9}) {
      AttentionCase config;
      config.dtype = dtype;
      config.q_heads = 2 * group;
      config.kv_heads = 2;
      config.batch = 2;
      config.sq = group == 5 ? 3 : 1;
      config.sk = 700 + 31 * group;
      config.d = group == 2 ? 72 : 64;
      config.dv = group == 3 ? 80 : 64;
      config.causal = Causal::lower_right;
      config.window.left = group == 9 ? 300 : -1;
      config.layout = group % 2 == 0 ? Layout::bhsd : Layout::sliced;
      config.seed = 300 + static_cast<uint32_t>(cases.size());
      cases.push_back(config);
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Decode, AttnDecodeCpu, ::testing::ValuesIn(decode_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });
INSTANTIATE_TEST_SUITE_P(Cases, AttnDecodeCpu, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });

}  // namespace
}  // namespace regard::testing
