// sage_quantize and sage_fwd_mma on a GPU against the quantised reference; skipped, with the
// reason, on a machine without one.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "gpu/launch/sage_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "tests/cpu/sage_cases.h"
#include "tests/cpu/sage_judge.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"

namespace regard::testing {
namespace {

// The CPU's cases in the dtypes that the GPU serves; an int8 backward changes no forward.
std::vector<AttentionCase> gpu_cases() {
  std::vector<AttentionCase> cases;
  for (AttentionCase config : sage_cases()) {
    for (const DType dtype : {DType::f16, DType::bf16}) {
      config.dtype = config.gradient_dtype = dtype;
      cases.push_back(config);
      cases.back().name += dtype == DType::f16 ? "_in_f16" : "_in_bf16";
    }
  }
  std::erase_if(cases, [](const AttentionCase& config) {
    return CaseOperands(config).problem().quantization.int8_backward;
  });
  return cases;
}

class SageFwdMmaGpu : public GpuTest, public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(SageFwdMmaGpu, TilesOfAmpereAndThisGpu_AgreeWithQuantizedReference) {
  const SageJudge judge(GetParam());
  for (const int tiles_capability : {80, compute_capability()}) {
    ASSERT_EQ(gpu::why_unsupported_sage_fwd_mma(judge.problem(), tiles_capability), "");
    AttentionResults results(GetParam(), judge.operands());
    RelocatedProblem relocated(device_memory(), judge.problem(), results.outputs());
    const gpu::SageFwdPlan plan =
        gpu::plan_sage_fwd_mma(relocated.problem(), relocated.outputs(), tiles_capability);
    SCOPED_TRACE(gpu::describe("sage_fwd_mma", plan.config));
    gpu::launch_sage_fwd_mma(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    judge.expect_forward_right(results);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SageFwdMmaGpu, ::testing::ValuesIn(gpu_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
