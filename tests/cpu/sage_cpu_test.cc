// The int8 CPU kernels against the quantised reference, and against exact attention.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/cpu_attention.h"
#include "cpu/target.h"
#include "regard/attention.h"
#include "tests/cpu/sage_cases.h"
#include "tests/cpu/sage_judge.h"

namespace regard::testing {
namespace {

class SageCpu : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }
};

TEST_P(SageCpu, EveryTarget_AgreesWithQuantizedReference) {
  const SageJudge judge(GetParam());
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target + ", seed " + std::to_string(GetParam().seed));
    cpu::force_target(target);
    judge.expect_right(run_sage(GetParam(), judge.operands()));
  }
}

TEST_P(SageCpu, EveryThreadCount_GivesTheSameBits) {
  const CaseOperands operands(GetParam());
  set_num_threads(1);
  const AttentionResults expected = run_sage(GetParam(), operands);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_TRUE(run_sage(GetParam(), operands).has_same_bits(expected)) << threads << " threads";
  }
}

// The slack that an int8 backward is given does not reach to the gradients without int8. (In bf16
// the rule's own 4 roundings of the largest gradient do, for dQ and dK.)
TEST(SageInt8Backward, StraightThroughGradients_AreBeyondWhatIsAllowed) {
  AttentionCase config{.q_heads = 2,
                       .sq = 200,
                       .sk = 300,
                       .d = 64,
                       .dv = 64,
                       .change = quantized({.values = ValueFormat::f16})};
  for (const DType dtype : {DType::f32, DType::f16}) {
    config.dtype = dtype;
    const SageJudge judge(with_int8_backward(config));
    EXPECT_EQ(judge.wrong_gradients(run_sage(config, CaseOperands(config))), "dq dk dv")
        << "dtype " << static_cast<int>(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SageCpu, ::testing::ValuesIn(sage_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
