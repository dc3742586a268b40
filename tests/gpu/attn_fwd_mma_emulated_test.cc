// The text of attn_fwd_mma, run on the emulator of a thread block, against the reference.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "gpu/kernels/attn_fwd_mma.cuh"
#include "gpu/plan/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/emulated_case.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::BiasFormat;
using gpu::Element;

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::AttnFwdParams&, unsigned short*);
};

template <int kComputeCapability, AttnConfig kCfg>
constexpr Kernel kernel() {
  constexpr AttnConfig kPlanned = gpu::with_tiles(kCfg, kComputeCapability, !kCfg.is_packed);
  return {kPlanned, gpu::attn_fwd_mma<kPlanned>};
}

constexpr std::array kKernels = {
    kernel<80, AttnConfig{.element = Element::f16, .head_dim = 64, .value_dim = 64}>(),
    kernel<80,
           AttnConfig{
               .element = Element::bf16, .head_dim = 128, .value_dim = 128, .has_limits = true}>(),
    kernel<80,
           AttnConfig{.head_dim = 48, .value_dim = 16, .has_limits = true, .is_packed = true}>(),
    kernel<80, AttnConfig{.head_dim = 16,
                          .value_dim = 16,
                          .is_vectorised = false,
                          .has_limits = true,
                          .has_softcap = true,
                          .has_alibi = true}>(),
    kernel<80, AttnConfig{.element = Element::bf16,
                          .head_dim = 32,
                          .value_dim = 32,
                          .is_vectorised = false,
                          .has_limits = true,
                          .has_alibi = true,
                          .is_packed = true}>(),
    kernel<80,
           AttnConfig{
               .element = Element::bf16, .head_dim = 192, .value_dim = 128, .has_softcap = true}>(),
    kernel<80,
           AttnConfig{
               .element = Element::f16, .head_dim = 256, .value_dim = 256, .has_limits = true}>(),
    kernel<90, AttnConfig{.element = Element::bf16, .head_dim = 128, .value_dim = 128}>(),
    kernel<90, AttnConfig{.head_dim = 128, .value_dim = 128, .has_limits = true}>(),
    kernel<90, AttnConfig{.element = Element::bf16, .head_dim = 64, .value_dim = 64}>(),
    kernel<90,
           AttnConfig{.head_dim = 64, .value_dim = 64, .has_limits = true, .is_packed = true}>(),
    kernel<90, AttnConfig{.element = Element::bf16,
                          .head_dim = 128,
                          .value_dim = 128,
                          .has_limits = true,
                          .is_packed = true}>(),
    kernel<90, AttnConfig{.head_dim = 192, .value_dim = 192, .has_limits = true}>(),
    kernel<90, AttnConfig{.element = Element::bf16, .head_dim = 256, .value_dim = 256}>(),
    kernel<75, AttnConfig{.head_dim = 64, .value_dim = 64, .has_limits = true}>(),
    kernel<75,
           AttnConfig{
               .head_dim = 128, .value_dim = 128, .is_vectorised = false, .has_alibi = true}>(),
    kernel<75,
           AttnConfig{.head_dim = 192, .value_dim = 192, .has_limits = true, .is_packed = true}>(),
    kernel<75, AttnConfig{.head_dim = 256, .value_dim = 256, .has_softcap = true}>(),
    kernel<80, AttnConfig{.head_dim = 16, .value_dim = 16, .has_mask = true}>(),
    kernel<80, AttnConfig{.head_dim = 16, .value_dim = 16, .loads_twos = true, .has_mask = true}>(),
    kernel<80, AttnConfig{.bias = BiasFormat::f32,
                          .head_dim = 16,
                          .value_dim = 16,
                          .loads_twos = true,
                          .has_mask = true}>(),
    kernel<80, AttnConfig{.bias = BiasFormat::f16,
                          .head_dim = 16,
                          .value_dim = 16,
                          .loads_twos = true,
                          .has_limits = true}>(),
    kernel<80, AttnConfig{.element = Element::bf16,
                          .bias = BiasFormat::bf16,
                          .head_dim = 16,
                          .value_dim = 16,
                          .has_limits = true}>(),
    kernel<80,
           AttnConfig{.head_dim = 16, .value_dim = 16, .has_limits = true, .has_chunks = true}>(),
    kernel<80, AttnConfig{.head_dim = 16, .value_dim = 16, .has_limits = true, .has_sink = true}>(),
    kernel<80, AttnConfig{.head_dim = 16, .value_dim = 16, .has_dropout = true}>(),
    kernel<80,
           AttnConfig{.head_dim = 16, .value_dim = 16, .is_packed = true, .has_lengths = true}>(),
    kernel<80, AttnConfig{.head_dim = 16, .value_dim = 16, .has_block_mask = true}>(),
    kernel<80, AttnConfig{.element = Element::bf16,
                          .bias = BiasFormat::bf16,
                          .head_dim = 16,
                          .value_dim = 16,
                          .is_vectorised = false,
                          .has_limits = true,
                          .has_softcap = true,
                          .has_alibi = true,
                          .is_packed = true,
                          .has_lengths = true,
                          .has_chunks = true,
                          .has_mask = true,
                          .has_sink = true,
                          .has_dropout = true,
                          .has_block_mask = true}>(),
};

std::string run(const gpu::AttnFwdPlan& plan, const std::vector<MemoryRange>& memory) {
  for (const Kernel& kernel : kKernels) {
    if (kernel.config == plan.config) {
      return emulate(
          emulated_launch(plan.grid, plan.config.num_threads(), plan.config.smem_bytes(), memory),
          [&](unsigned short* shared) { kernel.run(plan.params, shared); });
    }
  }
  return "add to kKernels: " + gpu::literal(plan.config);
}

class AttnFwdMma : public ::testing::TestWithParam<EmulatedCase> {};

TEST_P(AttnFwdMma, Emulated_AgreesWithReferenceAndTouchesOnlyItsMemory) {
  const auto& [compute_capability, config] = GetParam();
  const AttentionJudge judge(config);
  ASSERT_EQ(gpu::why_unsupported_attn_fwd_mma(judge.problem(), compute_capability), "");
  AttentionResults results(config, judge.operands());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.outputs());
  const gpu::AttnFwdPlan plan =
      gpu::plan_attn_fwd_mma(relocated.problem(), relocated.outputs(), compute_capability);
  SCOPED_TRACE(gpu::describe("attn_fwd_mma", plan.config));
  EXPECT_LE(plan.config.smem_bytes(), gpu::smem_limit_bytes(compute_capability));
  ASSERT_EQ(run(plan, memory_of(relocated)), "");
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_forward_right(results);
}

// One feature beside the limits at a time, then all of them.
void add_feature_cases(std::vector<EmulatedCase>& cases) {
  const auto add = [&](int64_t sq, int64_t sk, auto change) {
    AttentionCase config;
    config.dtype = config.gradient_dtype = DType::f16;
    config.sq = sq;
    config.sk = sk;
    config.d = config.dv = 16;
    config.q_heads = 2;
    config.seed = static_cast<uint32_t>(900 + cases.size());
    change(config);
    cases.push_back({80, config});
  };
  add(140, 90, [](AttentionCase& c) {
    c.has_mask = true;
    c.batch = 2;
    c.has_nan_keys = true;
  });
  add(60, 91, [](AttentionCase& c) {
    c.has_mask = c.has_nan_keys = true;
    c.broadcast = Broadcast::over_head_and_query;
  });
  for (const Broadcast broadcast : {Broadcast::full, Broadcast::over_key}) {
    add(70, 150, [&](AttentionCase& c) {
      c.has_bias = true;
      c.dtype = broadcast == Broadcast::full ? DType::f16 : DType::bf16;
      c.broadcast = broadcast;
      c.causal = Causal::lower_right;
    });
  }
  add(50, 90, [](AttentionCase& c) {
    c.has_mask = c.has_bias = true;
    c.change = [](Problem& problem) {  // f32 beside f16 operands
      static const std::vector<float> bias(2 * 50 * 90, 0.5f);
      problem.bias.data = bias.data();
      problem.bias.dtype = DType::f32;
    };
    c.name = "bias_f32";
  });
  for (const int64_t shift : {0, 9}) {
    add(130, 140, [&](AttentionCase& c) {
      c.chunks = {.size = 17, .shift = shift, .first_shifted_head = 1};
      c.causal = Causal::upper_left;
      c.kv_heads = 2;
    });
  }
  add(21, 36, [](AttentionCase& c) {  // the block's first and last key, and none between
    c.chunks = {.size = 5};
    c.causal = Causal::upper_left;
    c.has_nan_keys = true;
  });
  add(140, 140, [](AttentionCase& c) {
    c.has_sink = true;
    c.causal = Causal::lower_right;
    c.sk = 100;  // 40 rows see the sink alone
  });
  add(140, 300, [](AttentionCase& c) { c.dropout = 0.3f; });
  add(60, 70, [](AttentionCase& c) {
    c.documents = {{20, 33}, {0, 5}, {31, 20}};
    c.unowned = 3;
    c.has_nan_keys = true;
  });
  for (const int32_t block : {16, 37, 128}) {
    add(200, 290, [&](AttentionCase& c) {
      c.block_q = block;
      c.block_k = block + block % 2 * 8;
      c.has_nan_keys = true;
      c.broadcast = block == 37 ? Broadcast::full : Broadcast::over_batch_and_head;
    });
  }
  add(90, 130, [](AttentionCase& c) {
    c.documents = {{50, 60}, {20, 30}};
    c.unowned = 10;
    c.has_mask = c.has_bias = c.has_alibi = c.has_sink = true;
    c.window = {.left = 40, .right = 5};
    c.chunks = {.size = 40, .shift = 10, .first_shifted_head = 1};
    c.softcap = 10.0f;
    c.dropout = 0.5f;
    c.block_q = 32;
    c.block_k = 16;
    c.layout = Layout::sliced;
    c.dtype = DType::bf16;
    c.d = 15;
  });
}

std::vector<EmulatedCase> emulated_cases() {
  std::vector<EmulatedCase> cases;
  const auto add = [&](int compute_capability, AttentionCase config, auto change) {
    change(config);
    cases.push_back({compute_capability, config});
  };
  const auto f16 = DType::f16, bf16 = DType::bf16;
  add(80, case_of(f16, 129, 200, 64, 64), [](AttentionCase& c) { c.q_heads = 2; });
  add(80, case_of(f16, 5, 0, 64, 64), [](AttentionCase&) {});
  add(80, case_of(bf16, 130, 97, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.q_heads = 2;
    c.layout = Layout::bhsd;
  });
  add(80, case_of(bf16, 40, 150, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.has_nan_keys = true;
  });
  add(80, case_of(f16, 150, 150, 48, 16), [](AttentionCase& c) {
    c.documents = {{70, 30}, {0, 20}, {75, 100}, {5, 0}};
    c.causal = Causal::lower_right;
    c.q_heads = 2;
  });
  add(80, case_of(f16, 70, 140, 9, 7), [](AttentionCase& c) {
    c.window = {.left = 20, .right = 3};
    c.softcap = 5.0f;
    c.has_alibi = true;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.batch = 2;
    c.layout = Layout::sliced;
  });
  add(80, case_of(bf16, 90, 80, 20, 31), [](AttentionCase& c) {
    c.documents = {{30, 50}, {60, 30}};
    c.window = {.left = 10, .right = 0};
    c.has_alibi = true;
  });
  add(80, case_of(bf16, 70, 90, 192, 128), [](AttentionCase& c) { c.softcap = 20.0f; });
  add(80, case_of(f16, 66, 70, 256, 256), [](AttentionCase& c) { c.causal = Causal::upper_left; });
  add(90, case_of(bf16, 140, 150, 128, 128), [](AttentionCase&) {});
  add(90, case_of(f16, 140, 200, 120, 128),
      [](AttentionCase& c) { c.causal = Causal::lower_right; });
  add(90, case_of(bf16, 131, 300, 64, 64), [](AttentionCase&) {});
  add(90, case_of(f16, 300, 310, 64, 64), [](AttentionCase& c) {
    c.documents = {{270, 200}, {30, 110}};
    c.causal = Causal::lower_right;
  });
  add(90, case_of(bf16, 200, 260, 128, 128), [](AttentionCase& c) {
    c.documents = {{140, 150}, {60, 110}};
    c.window = {.left = 90, .right = 5};
  });
  add(90, case_of(f16, 70, 150, 192, 192),
      [](AttentionCase& c) { c.causal = Causal::lower_right; });
  add(90, case_of(bf16, 135, 200, 256, 256), [](AttentionCase&) {});
  add(75, case_of(f16, 140, 140, 64, 64), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.q_magnitude = 8.0f;
  });
  add(75, case_of(f16, 33, 65, 121, 128), [](AttentionCase& c) { c.has_alibi = true; });
  add(75, case_of(f16, 60, 70, 184, 192), [](AttentionCase& c) {
    c.documents = {{20, 30}, {40, 40}};
    c.causal = Causal::lower_right;
  });
  add(75, case_of(f16, 17, 40, 248, 256), [](AttentionCase& c) { c.softcap = 3.0f; });
  add_feature_cases(cases);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnFwdMma, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace regard::testing
