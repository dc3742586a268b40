// attn_fwd_mma on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "regard/attention.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

class AttnFwdMmaGpu : public GpuTest {
 protected:
  // With the tiles and instructions of a GPU of `tiles_capability`, on this one.
  void expect_right(const AttentionCase& config, int tiles_capability) const {
    const AttentionJudge judge(config);
    AttentionResults results(config, judge.operands());
    RelocatedProblem relocated(device_memory(), judge.problem(), results.outputs());
    const gpu::AttnFwdPlan plan =
        gpu::plan_attn_fwd_mma(relocated.problem(), relocated.outputs(), tiles_capability);
    SCOPED_TRACE(gpu::describe("attn_fwd_mma", plan.config) + " " + config.id());
    gpu::launch_attn_fwd_mma(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    judge.expect_forward_right(results);
  }
};

TEST_F(AttnFwdMmaGpu, TableWithTilesOfTuringAmpereAndThisGpu_AgreesWithReference) {
  int num_judged = 0;
  for (const int tiles_capability : {75, 80, compute_capability()}) {
    for (const AttentionCase& config : grid_cases()) {
      const CaseOperands operands(config);
      if (gpu::why_unsupported_attn_fwd_mma(operands.problem(), tiles_capability).empty()) {
        expect_right(config, tiles_capability);
        ++num_judged;
      }
    }
  }
  RecordProperty("cases", num_judged);
  std::printf("%d cases on compute capability %d\n", num_judged, compute_capability());
  EXPECT_GE(num_judged, 100);
}

TEST_F(AttnFwdMmaGpu, PublicCall_RunsOnDeviceMemoryAndRefusesHostMemory) {
  AttentionCase config;
  config.dtype = config.gradient_dtype = DType::f16;
  config.sq = 300;
  config.sk = 500;
  config.d = config.dv = 64;
  config.causal = Causal::lower_right;
  const AttentionJudge judge(config);
  AttentionResults results(config, judge.operands());
  EXPECT_NE(why_unsupported(Backend::cuda, judge.problem()), "");
  RelocatedProblem relocated(device_memory(), judge.problem(), results.outputs());
  ASSERT_EQ(why_unsupported(Backend::cuda, relocated.problem()), "");
  attention_forward(relocated.problem(), relocated.outputs(), Backend::cuda);
  await_device();
  EXPECT_TRUE(relocated.copy_back());
  judge.expect_forward_right(results);
}

}  // namespace
}  // namespace regard::testing
