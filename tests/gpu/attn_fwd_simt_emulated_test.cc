// The text of attn_fwd_simt, run on the emulator of a thread block, against the reference.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "gpu/kernels/attn_fwd_simt.cuh"
#include "gpu/plan/attn_fwd_simt.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/emulated_case.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/gpu/emulator/emulator.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::Element;

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::AttnFwdParams&, unsigned short*);
};

template <int kComputeCapability, AttnConfig kCfg>
constexpr Kernel kernel() {
  constexpr AttnConfig kPlanned = gpu::with_simt_tiles(kCfg, kComputeCapability);
  return {kPlanned, gpu::attn_fwd_simt<kPlanned>};
}

constexpr std::array kKernels = {
    kernel<80, AttnConfig{.element = Element::f32, .head_dim = 64, .value_dim = 64}>(),
    kernel<80,
           AttnConfig{
               .element = Element::f32, .head_dim = 128, .value_dim = 128, .has_limits = true}>(),
    kernel<80, AttnConfig{.element = Element::f32,
                          .head_dim = 64,
                          .value_dim = 32,
                          .has_limits = true,
                          .is_packed = true}>(),
    kernel<80, AttnConfig{.element = Element::f32,
                          .head_dim = 32,
                          .value_dim = 32,
                          .is_vectorised = false,
                          .has_limits = true,
                          .has_softcap = true,
                          .has_alibi = true}>(),
    kernel<75,
           AttnConfig{
               .element = Element::bf16, .head_dim = 64, .value_dim = 64, .has_limits = true}>(),
    kernel<80, AttnConfig{.element = Element::f16, .head_dim = 320, .value_dim = 288}>(),
    kernel<75, AttnConfig{.element = Element::bf16,
                          .head_dim = 96,
                          .value_dim = 512,
                          .is_vectorised = false,
                          .has_alibi = true}>(),
    kernel<80, AttnConfig{.element = Element::f32,
                          .bias = gpu::BiasFormat::f32,
                          .head_dim = 64,
                          .value_dim = 64,
                          .has_chunks = true,
                          .has_mask = true,
                          .has_sink = true,
                          .has_dropout = true}>(),
    kernel<80, AttnConfig{.element = Element::f32,
                          .head_dim = 32,
                          .value_dim = 32,
                          .has_limits = true,
                          .is_packed = true,
                          .has_lengths = true,
                          .has_sink = true,
                          .has_block_mask = true}>(),
    kernel<75, AttnConfig{.element = Element::f32,
                          .head_dim = 128,
                          .value_dim = 96,
                          .has_limits = true,
                          .is_paged = true}>(),
};

std::string run(const gpu::AttnFwdPlan& plan, const std::vector<MemoryRange>& memory) {
  for (const Kernel& kernel : kKernels) {
    if (kernel.config == plan.config) {
      return emulate(emulated_launch(plan.grid, plan.config.num_threads(),
                                     gpu::forward_layout(plan.config).smem_bytes(), memory),
                     [&](unsigned short* shared) { kernel.run(plan.params, shared); });
    }
  }
  return "add to kKernels: " + gpu::literal(plan.config);
}

class AttnFwdSimt : public ::testing::TestWithParam<EmulatedCase> {};

TEST_P(AttnFwdSimt, Emulated_AgreesWithReferenceAndTouchesOnlyItsMemory) {
  const auto& [compute_capability, config] = GetParam();
  const AttentionJudge judge(config);
  ASSERT_EQ(gpu::why_unsupported_attn_fwd_simt(judge.problem(), compute_capability), "");
  AttentionResults results(config, judge.operands());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.outputs());
  const gpu::AttnFwdPlan plan =
      gpu::plan_attn_fwd_simt(relocated.problem(), relocated.outputs(), compute_capability);
  SCOPED_TRACE(gpu::describe("attn_fwd_simt", plan.config));
  ASSERT_EQ(run(plan, memory_of(relocated)), "");
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_forward_right(results);
}

std::vector<EmulatedCase> emulated_cases() {
  std::vector<EmulatedCase> cases;
  const auto add = [&](int compute_capability, AttentionCase config, auto change) {
    change(config);
    cases.push_back({compute_capability, config});
  };
  const auto f16 = DType::f16, bf16 = DType::bf16, f32 = DType::f32;
  add(80, case_of(f32, 129, 200, 64, 64), [](AttentionCase& c) { c.q_heads = 2; });
  add(80, case_of(f32, 5, 0, 64, 64), [](AttentionCase&) {});
  add(80, case_of(f32, 130, 97, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.q_heads = 2;
    c.layout = Layout::bhsd;
  });
  add(80, case_of(f32, 40, 150, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.has_nan_keys = true;
  });
  add(80, case_of(f32, 150, 150, 44, 16), [](AttentionCase& c) {
    c.documents = {{70, 30}, {0, 20}, {75, 100}, {5, 0}};
    c.causal = Causal::lower_right;
    c.q_heads = 2;
  });
  add(80, case_of(f32, 70, 140, 9, 7), [](AttentionCase& c) {
    c.window = {.left = 20, .right = 3};
    c.softcap = 5.0f;
    c.has_alibi = true;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.batch = 2;
    c.layout = Layout::sliced;
  });
  add(75, case_of(bf16, 140, 140, 64, 64), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.q_magnitude = 8.0f;
  });
  add(80, case_of(f16, 33, 65, 320, 288), [](AttentionCase&) {});
  add(80, case_of(f32, 140, 150, 64, 64), [](AttentionCase& c) {
    c.has_bias = c.has_mask = c.has_sink = c.has_nan_keys = true;
    c.broadcast = Broadcast::over_head_and_query;
    c.chunks = {.size = 60, .shift = 20, .first_shifted_head = 1};
    c.dropout = 0.3f;
    c.q_heads = 2;
  });
  add(80, case_of(f32, 100, 90, 32, 32), [](AttentionCase& c) {
    c.documents = {{40, 30}, {20, 40}, {30, 10}};
    c.unowned = 5;
    c.sq = 105;
    c.sk = 95;
    c.causal = Causal::lower_right;
    c.block_q = 16;
    c.block_k = 24;
    c.has_sink = c.has_nan_keys = true;
    c.q_heads = 2;
  });
  add(75, case_of(f32, 40, 130, 128, 96), [](AttentionCase& c) {
    c.page_size = 7;
    c.causal = Causal::lower_right;
    c.batch = 2;
  });
  add(75, case_of(bf16, 33, 65, 91, 500), [](AttentionCase& c) { c.has_alibi = true; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnFwdSimt, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace regard::testing
