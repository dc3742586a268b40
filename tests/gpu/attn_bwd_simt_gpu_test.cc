// attn_bwd_simt on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <string>

#include "gpu/launch/attn_bwd_mma.h"
#include "gpu/launch/attn_fwd_simt.h"
#include "gpu/plan/attn_bwd_simt.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

class AttnBwdSimtGpu : public GpuTest {
 protected:
  // Forward and backward with the tiles of a GPU of `tiles_capability`, on this one; why not, where
  // refused. The LSE has to be that of the same products: in f32 those of a reference differ by
  // more than the weights may.
  std::string run(const AttentionJudge& judge, AttentionResults& results,
                  int tiles_capability) const {
    RelocatedProblem relocated(device_memory(), judge.problem(), results.tensors(judge.operands()));
    const Problem& problem = relocated.problem();
    std::string refusal = gpu::why_unsupported_attn_fwd_simt(problem, tiles_capability);
    if (refusal.empty()) {
      refusal = gpu::why_unsupported_attn_bwd_simt(problem, relocated.tensors(), tiles_capability);
    }
    if (!refusal.empty()) {
      return refusal;
    }
    gpu::launch_attn_fwd_simt(
        driver(), gpu::plan_attn_fwd_simt(problem, relocated.outputs(), tiles_capability),
        compute_capability(), nullptr);
    gpu::launch_attn_bwd_mma(
        driver(), gpu::plan_attn_bwd_simt(problem, relocated.tensors(), tiles_capability),
        compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    return "";
  }
};

// One test a case, so that many processes (GTEST_TOTAL_SHARDS) can share them: compiling takes
// longer than running.
class AttnBwdSimtGpuTable : public AttnBwdSimtGpu,
                            public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(AttnBwdSimtGpuTable, WithTilesOfTuringAndThisGpu_AgreesWithReference) {
  const AttentionJudge judge(GetParam());
  if (!has_backward(judge.problem())) {
    GTEST_SKIP() << "no backward of pages and f8";
  }
  for (const int tiles_capability : {75, compute_capability()}) {
    SCOPED_TRACE("tiles " + std::to_string(tiles_capability));
    AttentionResults results(judge.config(), judge.operands());
    if (const std::string refusal = run(judge, results, tiles_capability); !refusal.empty()) {
      GTEST_SKIP() << refusal;
    }
    judge.expect_right(results);
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, AttnBwdSimtGpuTable, ::testing::ValuesIn(grid_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });
INSTANTIATE_TEST_SUITE_P(Random, AttnBwdSimtGpuTable, ::testing::ValuesIn(random_cases(200, 8)),
                         [](const auto& test_info) { return test_info.param.id(); });

TEST_F(AttnBwdSimtGpu, Repeated_GivesTheSameBits) {
  AttentionCase config;
  config.batch = 2;
  config.q_heads = 4;
  config.kv_heads = 2;
  config.sq = config.sk = 500;
  config.d = config.dv = 64;
  config.causal = Causal::lower_right;
  const AttentionJudge judge(config);
  AttentionResults first(config, judge.operands());
  ASSERT_EQ(run(judge, first, compute_capability()), "");
  judge.expect_right(first);
  for (int repetition = 0; repetition < 10; ++repetition) {
    AttentionResults again(config, judge.operands());
    run(judge, again, compute_capability());
    EXPECT_TRUE(again.has_same_bits(first));
  }
}

}  // namespace
}  // namespace regard::testing
