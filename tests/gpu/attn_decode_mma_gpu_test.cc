// attn_decode_mma and attn_combine on a GPU against the reference; skipped, with the reason, on a
// machine without one.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/launch/attn_decode_mma.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/gpu_fixture.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

// Of a GPU whose tiles, and of one whose number of splits is tried.
struct Planned {
  int tiles_capability, num_multiprocessors;
};

class AttnDecodeMmaGpu : public GpuTest {
 protected:
  AttentionResults run(const AttentionCase& config, const CaseOperands& operands,
                       const Planned& planned) const {
    AttentionResults results(config, operands);
    RelocatedProblem relocated(device_memory(), operands.problem(), results.outputs());
    const gpu::AttnDecodePlan plan =
        gpu::plan_attn_decode_mma(relocated.problem(), relocated.outputs(),
                                  planned.tiles_capability, planned.num_multiprocessors);
    SCOPED_TRACE(gpu::describe("attn_decode_mma", plan.config) + " splits " +
                 std::to_string(plan.params.num_splits) + " " + config.id());
    gpu::launch_attn_decode_mma(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    return results;
  }

  // Those of `cases` that the kernel serves; returns how many.
  int expect_right(const std::vector<AttentionCase>& cases, const Planned& planned) const {
    int num_judged = 0;
    for (const AttentionCase& config : cases) {
      const CaseOperands operands(config);
      if (gpu::why_unsupported_attn_decode_mma(operands.problem(), planned.tiles_capability)
              .empty()) {
        const AttentionJudge judge(config);
        SCOPED_TRACE(config.id());
        judge.expect_forward_right(run(config, judge.operands(), planned));
        ++num_judged;
      }
    }
    std::printf("%d cases with the tiles of compute capability %d\n", num_judged,
                planned.tiles_capability);
    return num_judged;
  }
};

// Caches of many steps: groups, head sizes, pages, windows, documents.
std::vector<AttentionCase> cache_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int64_t dim : {64, 72, 128, 256}) {
      for (const int32_t page_size : {0, 16, 100}) {
        AttentionCase config;
        config.dtype = config.gradient_dtype = dtype;
        config.kv_heads = 2;
        config.q_heads = dim == 72 ? 10 : 8;
        config.batch = 3;
        config.sq = dim == 128 ? 5 : 1;
        config.sk = 1500 + dim;
        config.d = config.dv = dim;
        config.page_size = page_size;
        config.causal = Causal::lower_right;
        config.window.left = dim == 64 ? 700 : -1;
        config.has_sink = dim == 72;
        config.layout = page_size == 0 ? Layout::bhsd : Layout::bshd;
        config.q_magnitude = dtype == DType::f16 ? 4.0f : 1.0f;
        config.seed = 900 + static_cast<uint32_t>(cases.size());
        cases.push_back(config);
      }
    }
  }
  return cases;
}

TEST_F(AttnDecodeMmaGpu, Caches_AgreeWithReferenceForManyNumbersOfSplits) {
  for (const int num_multiprocessors : {1, 12, 132, 1000}) {
    EXPECT_GE(expect_right(cache_cases(), {compute_capability(), num_multiprocessors}), 24);
  }
}

TEST_F(AttnDecodeMmaGpu, Table_AgreesWithReference) {
  EXPECT_GE(expect_right(grid_cases(), {compute_capability(), 132}), 100);
}

TEST_F(AttnDecodeMmaGpu, TilesOfTuringAndAmpere_AgreeWithReference) {
  for (const int tiles_capability : {75, 80, 86}) {
    EXPECT_GE(expect_right(cache_cases(), {tiles_capability, 40}), 12);
  }
}

TEST_F(AttnDecodeMmaGpu, EveryRun_GivesTheSameBits) {
  for (const AttentionCase& config : cache_cases()) {
    const CaseOperands operands(config);
    const Planned planned{compute_capability(), 132};
    const AttentionResults first = run(config, operands, planned);
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(run(config, operands, planned).has_same_bits(first)) << config.id();
    }
  }
}

}  // namespace
}  // namespace regard::testing
