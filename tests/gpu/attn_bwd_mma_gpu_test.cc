// attn_bwd_mma on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "gpu/launch/attn_bwd_mma.h"
#include "gpu/plan/print_config.h"
#include "reference/attention.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

bool is_served(const AttentionCase& config, int tiles_capability) {
  const CaseOperands operands(config);
  AttentionResults results(config, operands);
  return has_backward(operands.problem()) &&
         gpu::why_unsupported_attn_bwd_mma(operands.problem(), results.tensors(operands),
                                           tiles_capability)
             .empty();
}

class AttnBwdMmaGpu : public GpuTest {
 protected:
  // With the tiles and instructions of a GPU of `tiles_capability`, on this one.
  void run(const AttentionJudge& judge, AttentionResults& results, int tiles_capability,
           bool is_deterministic) const {
    RelocatedProblem relocated(device_memory(), judge.problem(), results.tensors(judge.operands()));
    const gpu::AttnBwdPlan plan = gpu::plan_attn_bwd_mma(relocated.problem(), relocated.tensors(),
                                                         tiles_capability, is_deterministic);
    gpu::launch_attn_bwd_mma(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  }
};

// One test a case, so that many processes (GTEST_TOTAL_SHARDS) can share them: compiling takes
// longer than running. Each runs with the tiles of one GPU and one way to dQ, in turn;
// REGARD_ALL_CONFIGS=1 takes all.
class AttnBwdMmaGpuTable : public AttnBwdMmaGpu,
                           public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(AttnBwdMmaGpuTable, WithTilesOfTuringAmpereAdaAndThisGpu_AgreesWithReference) {
  const AttentionCase& config = GetParam();
  const AttentionJudge judge(config);
  const bool takes_all = std::getenv("REGARD_ALL_CONFIGS") != nullptr;
  uint32_t turn = 0;
  for (const int tiles_capability : {75, 80, 86, compute_capability()}) {
    for (const bool is_deterministic : {false, true}) {
      const bool is_due = takes_all || turn++ == config.seed / 3 % 8;
      if (!is_due || !is_served(config, tiles_capability)) {
        continue;
      }
      SCOPED_TRACE("tiles " + std::to_string(tiles_capability) +
                   (is_deterministic ? " deterministic" : ""));
      AttentionResults results(config, judge.operands());
      reference::forward(judge.problem(), results.outputs());
      run(judge, results, tiles_capability, is_deterministic);
      judge.expect_right(results);
    }
  }
}

std::vector<AttentionCase> served_cases() {
  std::vector<AttentionCase> cases;
  for (const AttentionCase& config : grid_cases()) {
    if (is_served(config, 80)) {
      cases.push_back(config);
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnBwdMmaGpuTable, ::testing::ValuesIn(served_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });

TEST_F(AttnBwdMmaGpu, DeterministicRepeated_GivesTheSameBits) {
  for (const int64_t dim : {64, 128, 256}) {
    AttentionCase config;
    config.dtype = config.gradient_dtype = DType::bf16;
    config.batch = 2;
    config.q_heads = 4;
    config.kv_heads = 2;
    config.sq = config.sk = 500;
    config.d = config.dv = dim;
    config.causal = Causal::lower_right;
    const AttentionJudge judge(config);
    AttentionResults first(config, judge.operands());
    reference::forward(judge.problem(), first.outputs());
    run(judge, first, compute_capability(), true);
    judge.expect_right(first);
    for (int repetition = 0; repetition < 10; ++repetition) {
      AttentionResults again(config, judge.operands());
      reference::forward(judge.problem(), again.outputs());
      run(judge, again, compute_capability(), true);
      EXPECT_TRUE(again.has_same_bits(first));
    }
  }
}

}  // namespace
}  // namespace regard::testing
