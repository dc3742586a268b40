// The CPU kernels on every SIMD target of the CPU, against the reference.
#include <gtest/gtest.h>

#include <string>

#include "cpu/cpu_attention.h"
#include "cpu/target.h"
#include "kernel_cases.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

class AttnCpu : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }
};

struct BackEnd {
  const char* name;
  std::string (*why_unsupported)(const Problem&);
  void (*forward)(const Problem&, const ForwardOutputs&);
  void (*backward)(const Problem&, const BackwardTensors&);
};
constexpr BackEnd kTiled{"tiled", cpu::why_unsupported_tiled, cpu::forward_tiled,
                         cpu::backward_tiled};
constexpr BackEnd kEager{"eager", cpu::why_unsupported_eager, cpu::forward_eager,
                         cpu::backward_eager};

AttentionResults run(const AttentionCase& config, const CaseOperands& operands,
                     const BackEnd& back_end) {
  AttentionResults results(config, operands);
  back_end.forward(operands.problem(), results.outputs());
  if (has_backward(operands.problem())) {
    back_end.backward(operands.problem(), results.tensors(operands));
  }
  return results;
}

void expect_agreement(const AttentionCase& config, const BackEnd& back_end) {
  const AttentionJudge judge(config);
  if (const std::string reason = back_end.why_unsupported(judge.problem()); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target + " " + back_end.name + ", seed " + std::to_string(config.seed));
    cpu::force_target(target);
    ASSERT_EQ(cpu::active_target(), target);
    const AttentionResults got = run(config, judge.operands(), back_end);
    if (has_backward(judge.problem())) {
      judge.expect_right(got);
    } else {
      judge.expect_forward_right(got);
    }
  }
}

void expect_same_bits(const AttentionCase& config, const BackEnd& back_end) {
  const CaseOperands operands(config);
  if (const std::string reason = back_end.why_unsupported(operands.problem()); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  set_num_threads(1);
  const AttentionResults expected = run(config, operands, back_end);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_TRUE(run(config, operands, back_end).has_same_bits(expected)) << threads << " threads";
  }
}

TEST_P(AttnCpu, TiledOnEveryTarget_AgreesWithReference) { expect_agreement(GetParam(), kTiled); }
TEST_P(AttnCpu, EagerOnEveryTarget_AgreesWithReference) { expect_agreement(GetParam(), kEager); }
TEST_P(AttnCpu, TiledAtEveryThreadCount_GivesTheSameBits) { expect_same_bits(GetParam(), kTiled); }
TEST_P(AttnCpu, EagerAtEveryThreadCount_GivesTheSameBits) { expect_same_bits(GetParam(), kEager); }

INSTANTIATE_TEST_SUITE_P(Cases, AttnCpu, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });

}  // namespace
}  // namespace regard::testing
