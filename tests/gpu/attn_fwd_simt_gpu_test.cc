// attn_fwd_simt on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <string>

#include "gpu/launch/attn_fwd_simt.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

// One test a case, so that many processes (GTEST_TOTAL_SHARDS) can share them: compiling takes
// longer than running.
class AttnFwdSimtGpu : public GpuTest, public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(AttnFwdSimtGpu, WithTilesOfTuringAndThisGpu_AgreesWithReference) {
  const AttentionJudge judge(GetParam());
  for (const int tiles_capability : {75, compute_capability()}) {
    const std::string refusal =
        gpu::why_unsupported_attn_fwd_simt(judge.problem(), tiles_capability);
    if (!refusal.empty()) {
      GTEST_SKIP() << refusal;
    }
    AttentionResults results(judge.config(), judge.operands());
    RelocatedProblem relocated(device_memory(), judge.problem(), results.outputs());
    const gpu::AttnFwdPlan plan =
        gpu::plan_attn_fwd_simt(relocated.problem(), relocated.outputs(), tiles_capability);
    SCOPED_TRACE(gpu::describe("attn_fwd_simt", plan.config));
    gpu::launch_attn_fwd_simt(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    judge.expect_forward_right(results);
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, AttnFwdSimtGpu, ::testing::ValuesIn(grid_cases()),
                         [](const auto& test_info) { return test_info.param.id(); });
INSTANTIATE_TEST_SUITE_P(Random, AttnFwdSimtGpu, ::testing::ValuesIn(random_cases(200, 8)),
                         [](const auto& test_info) { return test_info.param.id(); });

}  // namespace
}  // namespace regard::testing
