// attn_fwd_mma on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/nvrtc.h"
#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "regard/attention.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

class AttnFwdMmaGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    driver_ = gpu::cuda_driver(reason);
    if (driver_ == nullptr || gpu::nvrtc(reason) == nullptr) {
      GTEST_SKIP() << reason;
    }
    gpu::CudaDevice device = 0;
    gpu::CudaContext context = nullptr;
    gpu::check(*driver_, driver_->device_get(&device, 0), "cuDeviceGet");
    gpu::check(*driver_, driver_->primary_context_retain(&context, device), "context");
    gpu::check(*driver_, driver_->context_set_current(context), "context");
    compute_capability_ = gpu::compute_capability_of(*driver_, device);
  }

  MemoryKind device_memory() const {
    const gpu::CudaDriver& driver = *driver_;
    const auto address = [](const void* pointer) {
      return static_cast<gpu::CudaPointer>(reinterpret_cast<uintptr_t>(pointer));
    };
    return {[&driver](size_t num_bytes) {
              gpu::CudaPointer pointer = 0;
              gpu::check(driver, driver.memory_allocate(&pointer, num_bytes), "cuMemAlloc");
              return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer));
            },
            [&driver, address](void* memory) { driver.memory_free(address(memory)); },
            [&driver, address](void* there, const void* here, size_t num_bytes) {
              gpu::check(driver, driver.copy_to_device(address(there), here, num_bytes), "copy");
            },
            [&driver, address](void* here, const void* there, size_t num_bytes) {
              gpu::check(driver, driver.copy_to_host(here, address(there), num_bytes), "copy");
            }};
  }

  // With the tiles and instructions of a GPU of `tiles_capability`, on this one.
  void expect_right(const AttentionCase& config, int tiles_capability) const {
    const AttentionJudge judge(config);
    AttentionResults results(config, judge.operands());
    RelocatedProblem relocated(device_memory(), judge.problem(), results.outputs());
    const gpu::AttnFwdPlan plan =
        gpu::plan_attn_fwd_mma(relocated.problem(), relocated.outputs(), tiles_capability);
    SCOPED_TRACE(gpu::describe("attn_fwd_mma", plan.config) + " " + config.id());
    gpu::launch_attn_fwd_mma(*driver_, plan, compute_capability_, nullptr);
    gpu::check(*driver_, driver_->stream_synchronize(nullptr), "attn_fwd_mma");
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    judge.expect_forward_right(results);
  }

  const gpu::CudaDriver* driver_ = nullptr;
  int compute_capability_ = 0;
};

TEST_F(AttnFwdMmaGpu, TableWithTilesOfTuringAmpereAndThisGpu_AgreesWithReference) {
  int num_judged = 0;
  for (const int tiles_capability : {75, 80, compute_capability_}) {
    for (const AttentionCase& config : grid_cases()) {
      const CaseOperands operands(config);
      if (gpu::why_unsupported_attn_fwd_mma(operands.problem(), tiles_capability).empty()) {
        expect_right(config, tiles_capability);
        ++num_judged;
      }
    }
  }
  RecordProperty("cases", num_judged);
  std::printf("%d cases on compute capability %d\n", num_judged, compute_capability_);
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
  gpu::check(*driver_, driver_->stream_synchronize(nullptr), "attn_fwd_mma");
  EXPECT_TRUE(relocated.copy_back());
  judge.expect_forward_right(results);
}

}  // namespace
}  // namespace regard::testing
