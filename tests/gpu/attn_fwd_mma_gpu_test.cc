// attn_fwd_mma on a GPU against the reference; skipped, with the reason, on a machine without one.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/features.h"
#include "core/philox.h"
#include "core/sequences.h"
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
  AttentionResults run(const AttentionCase& config, const CaseOperands& operands,
                       int tiles_capability) const {
    AttentionResults results(config, operands);
    RelocatedProblem relocated(device_memory(), operands.problem(), results.outputs());
    const gpu::AttnFwdPlan plan =
        gpu::plan_attn_fwd_mma(relocated.problem(), relocated.outputs(), tiles_capability);
    SCOPED_TRACE(gpu::describe("attn_fwd_mma", plan.config) + " " + config.id());
    gpu::launch_attn_fwd_mma(driver(), plan, compute_capability(), nullptr);
    await_device();
    EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
    return results;
  }
};

// One test a case, so that --gtest_filter finds it and shards share the compilation of kernels.
class AttnFwdMmaTable : public AttnFwdMmaGpu,
                        public ::testing::WithParamInterface<AttentionCase> {};

TEST_P(AttnFwdMmaTable, TilesOfTuringAmpereAndThisGpu_AgreeWithReference) {
  const AttentionJudge judge(GetParam());
  for (const int tiles_capability : {75, 80, compute_capability()}) {
    if (gpu::why_unsupported_attn_fwd_mma(judge.problem(), tiles_capability).empty()) {
      SCOPED_TRACE("tiles of " + std::to_string(tiles_capability));
      judge.expect_forward_right(run(GetParam(), judge.operands(), tiles_capability));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnFwdMmaTable, ::testing::ValuesIn(attention_table()),
                         [](const auto& test_info) { return test_info.param.id(); });

// A kernel that refuses what it should serve would leave the table green; needs no GPU.
TEST(AttnFwdMmaTableList, EveryFeatureItServes_IsInTheTable) {
  std::map<std::string, int> judged;
  std::set<std::string> kernels;
  for (const AttentionCase& config : attention_table()) {
    const CaseOperands operands(config);
    const Problem& problem = operands.problem();
    if (!gpu::why_unsupported_attn_fwd_mma(problem, 80).empty()) {
      continue;
    }
    AttentionResults results(config, operands);
    const gpu::AttnFwdPlan plan = gpu::plan_attn_fwd_mma(problem, results.outputs(), 80);
    kernels.insert(gpu::literal(plan.config) + plan.programs);
    ++judged["all"];
    judged["mask"] += problem.mask.data != nullptr ? 1 : 0;
    judged["bias"] += problem.bias.data != nullptr ? 1 : 0;
    judged["dropout"] += problem.dropout.probability > 0 ? 1 : 0;
    for (int i = 0; i < core::kNumFeatures; ++i) {
      const auto feature = static_cast<core::Feature>(i);
      judged[core::name_of(feature)] += core::uses(problem, feature) ? 1 : 0;
    }
  }
  for (const char* what : {"mask", "bias", "dropout", "chunks", "document lengths", "a block mask",
                           "a sink", "a score program", "a mask program"}) {
    EXPECT_GE(judged[what], 100) << what;
  }
  EXPECT_GE(judged["all"], 1500);
  std::printf("%d cases, %zu kernels\n", judged["all"], kernels.size());
}

// Weights are all 1 / Sk and V is the identity, so that O shows which weights were kept.
TEST_F(AttnFwdMmaGpu, DropoutMask_IsBitForBitThatOfTheCpu) {
  AttentionCase config;
  config.dtype = config.gradient_dtype = DType::f16;
  config.q_heads = 3;
  config.documents = {{70, 200}, {131, 56}};
  config.sq = 201;
  config.sk = 256;
  config.d = 16;
  config.dv = 256;
  config.dropout = 0.4f;
  const CaseOperands operands(config);
  const Problem& problem = operands.problem();
  for (int64_t key = 0; key < config.sk; ++key) {
    for (int64_t d = 0; d < config.dv; ++d) {
      core::store(problem.v.data, problem.v.dtype, key * problem.v.stride_seq + d,
                  key == d ? 1.0f : 0.0f);
      core::store(problem.k.data, problem.k.dtype, key * problem.k.stride_seq + d % config.d, 0.0f);
    }
  }
  for (const int tiles_capability : {75, 80, compute_capability()}) {
    const std::vector<float> o = run(config, operands, tiles_capability).o.dense();
    int64_t num_different = 0;
    for (int64_t i = 0; i < core::num_sequences(problem); ++i) {
      const core::Sequence sequence = core::sequence_at(problem, i);
      for (int64_t head = 0; head < config.q_heads; ++head) {
        for (int64_t query = 0; query < sequence.q_len; ++query) {
          for (int64_t key = 0; key < sequence.k_len; ++key) {
            const int64_t row = (sequence.q_begin + query) * config.q_heads + head;
            const bool is_kept =
                o[static_cast<size_t>(row * config.dv + sequence.k_begin + key)] != 0;
            num_different += is_kept != core::is_kept(problem.dropout, i, head, query, key) ? 1 : 0;
          }
        }
      }
    }
    EXPECT_EQ(num_different, 0) << "tiles of " << tiles_capability;
  }
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
