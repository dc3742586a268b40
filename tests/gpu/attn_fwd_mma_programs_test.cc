// The text of attn_fwd_mma with the programs of a case in it (their programs.cuh stands first among
// the include folders), run on the emulator, against the reference.
#include <gtest/gtest.h>

#include "gpu/kernels/attn_fwd_mma.cuh"
#include "gpu/plan/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

constexpr int kProgram = 5;  // as the build writes it: both kinds, a tensor of two axes, documents

template <gpu::AttnConfig kCfg>
void expect_right(const AttentionCase& config) {
  constexpr gpu::AttnConfig kPlanned = gpu::with_tiles(kCfg, 80, true);
  const AttentionJudge judge(config);
  ASSERT_EQ(gpu::why_unsupported_attn_fwd_mma(judge.problem(), 80), "");
  AttentionResults results(config, judge.operands());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.outputs());
  const gpu::AttnFwdPlan plan =
      gpu::plan_attn_fwd_mma(relocated.problem(), relocated.outputs(), 80);
  ASSERT_EQ(gpu::literal(plan.config), gpu::literal(kPlanned));
  EXPECT_NE(plan.programs, "");
  ASSERT_EQ(
      emulate(emulated_launch(plan.grid, kPlanned.num_threads(), kPlanned.smem_bytes(),
                              memory_of(relocated)),
              [&](unsigned short* shared) { gpu::attn_fwd_mma<kPlanned>(plan.params, shared); }),
      "");
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_forward_right(results);
}

AttentionCase program_case() {
  AttentionCase config;
  config.dtype = config.gradient_dtype = DType::f16;
  config.q_heads = 2;
  config.d = config.dv = 16;
  config.sq = 130;
  config.sk = 140;
  config.program = kProgram;
  config.has_nan_keys = true;
  return config;
}

constexpr gpu::AttnConfig kPrograms{
    .head_dim = 16, .value_dim = 16, .has_score_program = true, .has_mask_program = true};

TEST(AttnFwdMmaPrograms, ScoreAndMaskProgram_AgreeWithReference) {
  expect_right<kPrograms>(program_case());
}

TEST(AttnFwdMmaPrograms, AfterSoftcapInDocuments_AgreeWithReference) {
  AttentionCase config = program_case();
  config.softcap = 5.0f;
  config.documents = {{60, 90}, {70, 50}};
  constexpr gpu::AttnConfig kConfig = [] {
    gpu::AttnConfig capped = kPrograms;
    capped.has_softcap = capped.is_packed = true;
    return capped;
  }();
  expect_right<kConfig>(config);
}

TEST(AttnFwdMmaPrograms, WithBlockMask_AgreeWithReference) {
  AttentionCase config = program_case();
  config.block_q = 48;
  config.block_k = 32;
  constexpr gpu::AttnConfig kConfig = [] {
    gpu::AttnConfig blocks = kPrograms;
    blocks.has_block_mask = true;
    return blocks;
  }();
  expect_right<kConfig>(config);
}

}  // namespace
}  // namespace regard::testing
