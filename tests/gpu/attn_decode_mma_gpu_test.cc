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

  // Whether the kernel serves the case; judged once for each of `plans`.
  bool expect_right(const AttentionCase& config, const std::vector<Planned>& plans) const {
    SCOPED_TRACE(config.id());
    const AttentionJudge judge(config);
    bool is_served = false;
    for (const Planned& planned : plans) {
      if (gpu::why_unsupported_attn_decode_mma(judge.problem(), planned.tiles_capability).empty()) {
        judge.expect_forward_right(run(config, judge.operands(), planned));
        is_served = true;
      }
    }
    return is_served;
  }
};

// Caches of many steps with one head size: groups, pages, windows, a sink.
std::vector<AttentionCase> cache_cases(int64_t dim) {
  std::vector<AttentionCase> cases;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const int32_t page_size : {0, 16, 100}) {
      AttentionCase config;
      config.dtype = config.gradient_dtype = dtype;
      config.kv_heads = 2;
      config.q_heads = dim == 72 ? 10 : 8;
      config.batch = 2;
      config.sq = dim == 128 ? 5 : 1;
      config.sk = 900 + dim;
      config.d = config.dv = dim;
      config.page_size = page_size;
      config.causal = Causal::lower_right;
      config.window.left = dim == 64 ? 400 : -1;
      config.has_sink = dim == 72;
      config.layout = page_size == 0 ? Layout::bhsd : Layout::bshd;
      config.q_magnitude = dtype == DType::f16 ? 4.0f : 1.0f;
      config.seed = 900 + static_cast<uint32_t>(cases.size());
      cases.push_back(config);
    }
  }
  return cases;
}

class AttnDecodeMmaGpuCaches : public AttnDecodeMmaGpu,
                               public ::testing::WithParamInterface<int64_t> {};

TEST_P(AttnDecodeMmaGpuCaches, ManyNumbersOfSplits_AgreeWithReference) {
  const int own = compute_capability();
  for (const AttentionCase& config : cache_cases(GetParam())) {
    EXPECT_TRUE(expect_right(config, {{own, 1}, {own, 12}, {own, 132}, {own, 1000}}));
  }
}

TEST_P(AttnDecodeMmaGpuCaches, TilesOfTuringAndAmpere_AgreeWithReference) {
  for (const AttentionCase& config : cache_cases(GetParam())) {
    EXPECT_TRUE(expect_right(config, {{75, 72}, {80, 108}, {86, 82}}));
  }
}

TEST_P(AttnDecodeMmaGpuCaches, EveryRun_GivesTheSameBits) {
  for (const AttentionCase& config : cache_cases(GetParam())) {
    const CaseOperands operands(config);
    const Planned planned{compute_capability(), 132};
    const AttentionResults first = run(config, operands, planned);
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(run(config, operands, planned).has_same_bits(first)) << config.id();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, AttnDecodeMmaGpuCaches, ::testing::Values(64, 72, 128, 256));

// The attention table in slices, so that processes can share it (GTEST_TOTAL_SHARDS).
constexpr int kNumSlices = 16;

class AttnDecodeMmaGpuTable : public AttnDecodeMmaGpu, public ::testing::WithParamInterface<int> {};

TEST_P(AttnDecodeMmaGpuTable, Slice_AgreesWithReference) {
  std::vector<AttentionCase> cases = grid_cases();
  for (AttentionCase& config : random_cases(400, 4711)) {
    cases.push_back(std::move(config));
  }
  int num_served = 0;
  for (auto i = static_cast<size_t>(GetParam()); i < cases.size(); i += kNumSlices) {
    const CaseOperands operands(cases[i]);
    const int own = compute_capability();
    if (gpu::why_unsupported_attn_decode_mma(operands.problem(), own).empty()) {
      num_served += expect_right(cases[i], {{own, 132}}) ? 1 : 0;
    }
  }
  std::printf("%d of %zu cases\n", num_served, cases.size() / kNumSlices);
  EXPECT_GE(num_served, 10);
}

INSTANTIATE_TEST_SUITE_P(Slices, AttnDecodeMmaGpuTable, ::testing::Range(0, kNumSlices));

}  // namespace
}  // namespace regard::testing
