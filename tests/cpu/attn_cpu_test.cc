// The CPU kernels on every SIMD target of the CPU, against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>

#include "core/dtype.h"
#include "cpu/cpu_attention.h"
#include "cpu/target.h"
#include "kernel_cases.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

class AttnCpu : public ::testing::Test {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }
};

class AttnCpuCases : public AttnCpu, public ::testing::WithParamInterface<AttentionCase> {};

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

TEST_P(AttnCpuCases, TiledOnEveryTarget_AgreesWithReference) {
  expect_agreement(GetParam(), kTiled);
}
TEST_P(AttnCpuCases, EagerOnEveryTarget_AgreesWithReference) {
  expect_agreement(GetParam(), kEager);
}
TEST_P(AttnCpuCases, TiledAtEveryThreadCount_GivesTheSameBits) {
  expect_same_bits(GetParam(), kTiled);
}
TEST_P(AttnCpuCases, EagerAtEveryThreadCount_GivesTheSameBits) {
  expect_same_bits(GetParam(), kEager);
}

// Whether row (query, head) of all views is free of infinities and NaN.
bool is_finite_row(std::initializer_list<View> views, int64_t query, int64_t head) {
  for (const View& view : views) {
    const int64_t at = core::row_offset(view, 0, query, head);
    for (int64_t i = 0; i < view.dim; ++i) {
      if (!std::isfinite(core::load(view.data, view.dtype, at + i))) {
        return false;
      }
    }
  }
  return true;
}

// One key is not finite: rows that see it are not either, other rows of the same tile are.
TEST_F(AttnCpu, KeyThatIsNotFinite_ReachesTheRowsThatSeeItOnly) {
  AttentionCase config;
  config.q_heads = 2;
  config.sq = config.sk = 150;
  config.d = config.dv = 24;
  config.causal = Causal::lower_right;
  constexpr int64_t kBadKey = 70;
  const float nan = std::nanf("");
  // An infinite key may have the score -inf, which hides it.
  for (const auto& [name, bad] : {std::pair{"k", nan}, {"v", nan}, {"v", HUGE_VALF}}) {
    const CaseOperands operands(config);
    const View& view = *name == 'k' ? operands.problem().k : operands.problem().v;
    static_cast<float*>(view.data)[core::row_offset(view, 0, kBadKey, 0)] = bad;
    for (const std::string& target : cpu::available_targets()) {
      SCOPED_TRACE(target + ", " + name + " " + std::to_string(bad));
      cpu::force_target(target);
      const AttentionResults got = run(config, operands, kTiled);
      for (int64_t query = 0; query < config.sq; ++query) {
        for (int64_t head = 0; head < config.q_heads; ++head) {
          ASSERT_EQ(is_finite_row({got.o.view(), got.dq.view()}, query, head), query < kBadKey)
              << "query " << query << ", head " << head;
        }
      }
      for (int64_t key = kBadKey + 1; key < config.sk; ++key) {
        EXPECT_FALSE(is_finite_row({got.dk.view(), got.dv.view()}, key, 0)) << "key " << key;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnCpuCases, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });

}  // namespace
}  // namespace regard::testing
