// The texts of attn_decode_mma and attn_combine, run on the emulator of a thread block, against the
// reference.
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "gpu/kernels/attn_combine.cuh"
#include "gpu/kernels/attn_decode_mma.cuh"
#include "gpu/plan/attn_decode_mma.h"
#include "gpu/plan/print_config.h"
#include "tests/gpu/emulated_case.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/gpu/relocated_problem.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::Element;

constexpr int kNumMultiprocessors = 6;

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::AttnDecodeParams&, unsigned short*);
  void (*combine)(const gpu::AttnDecodeParams&, unsigned short*);
};

template <int kComputeCapability, int kRows, AttnConfig kCfg>
constexpr Kernel kernel() {
  constexpr AttnConfig kPlanned = gpu::with_decode_tiles(kCfg, kRows, kComputeCapability);
  return {kPlanned, gpu::attn_decode_mma<kPlanned>,
          gpu::attn_combine<gpu::combine_config(kPlanned)>};
}

constexpr std::array kKernels = {
    kernel<80, 1, AttnConfig{.element = Element::f16, .head_dim = 64, .value_dim = 64}>(),
    kernel<80, 32,
           AttnConfig{
               .element = Element::bf16, .head_dim = 128, .value_dim = 128, .has_limits = true}>(),
    kernel<80, 4, AttnConfig{.head_dim = 48, .value_dim = 16, .is_packed = true}>(),
    kernel<80, 1,
           AttnConfig{.head_dim = 16,
                      .value_dim = 16,
                      .is_vectorised = false,
                      .has_limits = true,
                      .has_softcap = true,
                      .has_alibi = true,
                      .has_sink = true}>(),
    kernel<80, 1,
           AttnConfig{
               .element = Element::bf16, .head_dim = 192, .value_dim = 128, .has_sink = true}>(),
    kernel<80, 1,
           AttnConfig{
               .element = Element::f16, .head_dim = 256, .value_dim = 256, .has_limits = true}>(),
    kernel<90, 8, AttnConfig{.element = Element::bf16, .head_dim = 128, .value_dim = 128}>(),
    kernel<90, 8,
           AttnConfig{.element = Element::bf16,
                      .head_dim = 64,
                      .value_dim = 64,
                      .has_limits = true,
                      .is_paged = true}>(),
    kernel<90, 32,
           AttnConfig{.head_dim = 128,
                      .value_dim = 128,
                      .has_limits = true,
                      .is_packed = true,
                      .is_paged = true}>(),
    kernel<90, 16,
           AttnConfig{.bias = gpu::BiasFormat::f16,
                      .head_dim = 32,
                      .value_dim = 32,
                      .has_limits = true,
                      .has_chunks = true}>(),
    kernel<90, 16,
           AttnConfig{.element = Element::bf16,
                      .head_dim = 32,
                      .value_dim = 32,
                      .has_mask = true,
                      .has_block_mask = true}>(),
    kernel<90, 16,
           AttnConfig{.head_dim = 32, .value_dim = 32, .is_packed = true, .has_lengths = true}>(),
    kernel<75, 1, AttnConfig{.head_dim = 64, .value_dim = 64, .has_limits = true}>(),
    kernel<75, 1, AttnConfig{.head_dim = 192, .value_dim = 192, .is_paged = true}>(),
    kernel<75, 1, AttnConfig{.head_dim = 256, .value_dim = 256, .has_softcap = true}>(),
};

// The workspace as the allocator gives it: with whatever was there before.
class Workspace {
 public:
  explicit Workspace(size_t num_bytes) : floats_(num_bytes / sizeof(float), kGarbage) {}
  void* data() { return floats_.data(); }
  MemoryRange range() const { return {floats_.data(), floats_.size() * sizeof(float), true}; }

 private:
  static constexpr float kGarbage = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> floats_;
};

std::string run(gpu::AttnDecodePlan& plan, std::vector<MemoryRange> memory) {
  Workspace workspace(plan.workspace_bytes());
  plan.set_workspace(workspace.data());
  memory.push_back(workspace.range());
  for (const Kernel& kernel : kKernels) {
    if (kernel.config == plan.config) {
      const std::string fault =
          emulate(emulated_launch(plan.grid, plan.config.num_threads(),
                                  gpu::decode_smem_bytes(plan.config), memory),
                  [&](unsigned short* shared) { kernel.run(plan.params, shared); });
      if (!fault.empty() || plan.params.num_splits == 1) {
        return fault;
      }
      return emulate(emulated_launch(plan.combine_grid, plan.combine.num_threads(),
                                     gpu::combine_smem_bytes(plan.combine), memory),
                     [&](unsigned short* shared) { kernel.combine(plan.params, shared); });
    }
  }
  return "add to kKernels: " + gpu::literal(plan.config);
}

class AttnDecodeMma : public ::testing::TestWithParam<EmulatedCase> {};

TEST_P(AttnDecodeMma, Emulated_AgreesWithReferenceAndTouchesOnlyItsMemory) {
  const auto& [compute_capability, config] = GetParam();
  const AttentionJudge judge(config);
  ASSERT_EQ(gpu::why_unsupported_attn_decode_mma(judge.problem(), compute_capability), "");
  AttentionResults results(config, judge.operands());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.outputs());
  gpu::AttnDecodePlan plan = gpu::plan_attn_decode_mma(relocated.problem(), relocated.outputs(),
                                                       compute_capability, kNumMultiprocessors);
  SCOPED_TRACE(gpu::describe("attn_decode_mma", plan.config) + " splits " +
               std::to_string(plan.params.num_splits));
  RecordProperty("splits", plan.params.num_splits);
  EXPECT_LE(gpu::decode_smem_bytes(plan.config), gpu::smem_limit_bytes(compute_capability));
  ASSERT_EQ(run(plan, memory_of(relocated)), "");
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_forward_right(results);
}

std::vector<EmulatedCase> emulated_cases() {
  const auto heads = [](AttentionCase& c, int64_t q_heads, int64_t kv_heads) {
    c.q_heads = q_heads;
    c.kv_heads = kv_heads;
  };
  std::vector<EmulatedCase> cases;
  const auto add = [&](int compute_capability, AttentionCase config, auto change) {
    change(config);
    cases.push_back({compute_capability, config});
  };
  const auto f16 = DType::f16, bf16 = DType::bf16;
  add(80, case_of(f16, 1, 700, 64, 64), [&](AttentionCase& c) { heads(c, 4, 2); });
  add(80, case_of(f16, 1, 0, 64, 64), [](AttentionCase&) {});
  add(80, case_of(f16, 2, 1, 64, 64), [](AttentionCase& c) { c.batch = 9; });
  add(80, case_of(bf16, 5, 597, 128, 128), [&](AttentionCase& c) {
    c.causal = Causal::lower_right;
    heads(c, 6, 1);
    c.layout = Layout::bhsd;
  });
  add(80, case_of(bf16, 10, 150, 128, 128), [&](AttentionCase& c) {
    c.causal = Causal::upper_left;  // parts that no row sees
    heads(c, 3, 1);
    c.has_nan_keys = true;
  });
  add(80, case_of(f16, 6, 450, 48, 16), [&](AttentionCase& c) {
    c.documents = {{2, 30}, {0, 20}, {1, 400}, {3, 0}};
    heads(c, 2, 1);
  });
  add(80, case_of(f16, 1, 640, 9, 7), [&](AttentionCase& c) {
    c.window = {.left = 400, .right = 3};
    c.softcap = 5.0f;
    c.has_alibi = c.has_sink = true;
    heads(c, 4, 2);
    c.batch = 2;
    c.layout = Layout::sliced;
  });
  add(80, case_of(bf16, 1, 190, 192, 128), [](AttentionCase& c) { c.has_sink = true; });
  add(80, case_of(bf16, 3, 0, 192, 128), [](AttentionCase& c) { c.has_sink = true; });
  add(80, case_of(f16, 6, 170, 256, 256), [](AttentionCase& c) { c.causal = Causal::upper_left; });
  add(90, case_of(bf16, 1, 900, 128, 128), [&](AttentionCase& c) {
    heads(c, 8, 1);
    c.q_magnitude = 8.0f;
  });
  add(90, case_of(bf16, 1, 640, 64, 64), [&](AttentionCase& c) {
    heads(c, 8, 1);
    c.batch = 2;
    c.page_size = 16;
    c.causal = Causal::lower_right;
  });
  add(90, case_of(f16, 48, 300, 128, 128), [&](AttentionCase& c) {  // more than one row tile
    heads(c, 2, 1);
    c.documents = {{40, 230}, {7, 300}, {1, 100}};
    c.page_size = 48;
    c.causal = Causal::lower_right;
  });
  add(90, case_of(f16, 3, 500, 32, 32), [&](AttentionCase& c) {
    heads(c, 4, 1);
    c.causal = Causal::lower_right;
    c.chunks = {.size = 200, .shift = 100, .first_shifted_head = 2};
    c.has_bias = true;
  });
  add(90, case_of(bf16, 4, 700, 32, 32), [&](AttentionCase& c) {
    heads(c, 3, 1);
    c.has_mask = true;
    c.block_q = 2;
    c.block_k = 70;
  });
  add(90, case_of(f16, 9, 600, 32, 32), [&](AttentionCase& c) {
    heads(c, 4, 2);
    c.documents = {{3, 50}, {2, 0}, {1, 541}};
    c.unowned = 3;
    c.sq = 6 + 9;
    c.sk = 591 + 9;
    c.change = [](Problem& problem) {
      static constexpr int32_t kOffsets[] = {0, 6, 11, 15};
      problem.documents.q_offsets = kOffsets;
      problem.documents.q_lengths = nullptr;
    };
  });
  add(75, case_of(f16, 1, 540, 64, 64), [](AttentionCase& c) { c.causal = Causal::lower_right; });
  add(75, case_of(f16, 2, 265, 184, 192), [](AttentionCase& c) { c.page_size = 20; });
  add(75, case_of(f16, 1, 100, 248, 256), [](AttentionCase& c) { c.softcap = 3.0f; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnDecodeMma, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace regard::testing
