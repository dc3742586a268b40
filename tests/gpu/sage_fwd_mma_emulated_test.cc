// The texts of sage_mean, sage_quantize and sage_fwd_mma, run on the emulator of a thread block,
// against the quantised reference; and their arithmetic against core/int8_groups.h, bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/int8_groups.h"
#include "gpu/kernels/sage_fwd_mma.cuh"
#include "gpu/kernels/sage_mean.cuh"
#include "gpu/kernels/sage_quantize.cuh"
#include "gpu/plan/print_config.h"
#include "gpu/plan/sage_fwd_mma.h"
#include "tests/cpu/sage_cases.h"
#include "tests/cpu/sage_judge.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/gpu/relocated_problem.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::Element;
using gpu::ValueRounding;

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::SageParams&, unsigned short*);
};

template <int kComputeCapability, AttnConfig kCfg>
constexpr Kernel forward_kernel() {
  constexpr AttnConfig kPlanned = gpu::with_sage_tiles(kCfg, kComputeCapability);
  return {kPlanned, gpu::sage_fwd_mma<kPlanned>};
}
template <Element kElement, int kDim, int kValueDim, bool kIsVectorised = true,
          bool kIsPacked = false>
struct Quantizer {
  static constexpr AttnConfig kConfig = {.element = kElement,
                                         .head_dim = kDim,
                                         .value_dim = kValueDim,
                                         .num_warps = 4,
                                         .is_vectorised = kIsVectorised,
                                         .is_packed = kIsPacked};
  static constexpr AttnConfig mean_config() {
    AttnConfig config = kConfig;
    config.num_warps = 32;
    return config;
  }
  static constexpr Kernel kMean = {mean_config(), gpu::sage_mean<mean_config()>};
  static constexpr Kernel kQuantize = {kConfig, gpu::sage_quantize<kConfig>};
};

constexpr std::array kMeanKernels = {
    Quantizer<Element::f16, 64, 64>::kMean,
    Quantizer<Element::bf16, 64, 64>::kMean,
    Quantizer<Element::bf16, 128, 128>::kMean,
    Quantizer<Element::bf16, 64, 64, true, true>::kMean,
    Quantizer<Element::f16, 96, 48, false>::kMean,
    Quantizer<Element::f16, 256, 256>::kMean,
};
constexpr std::array kQuantizeKernels = {
    Quantizer<Element::f16, 64, 64>::kQuantize,
    Quantizer<Element::bf16, 64, 64>::kQuantize,
    Quantizer<Element::bf16, 128, 128>::kQuantize,
    Quantizer<Element::bf16, 64, 64, true, true>::kQuantize,
    Quantizer<Element::f16, 96, 48, false>::kQuantize,
    Quantizer<Element::f16, 256, 256>::kQuantize,
};
constexpr std::array kForwardKernels = {
    forward_kernel<80, AttnConfig{.head_dim = 32, .value_dim = 64}>(),
    forward_kernel<80, AttnConfig{.values = ValueRounding::f16, .head_dim = 32, .value_dim = 64}>(),
    forward_kernel<80, AttnConfig{.element = Element::bf16,
                                  .values = ValueRounding::f16,
                                  .head_dim = 64,
                                  .value_dim = 128,
                                  .has_limits = true}>(),
    forward_kernel<90, AttnConfig{.element = Element::bf16,
                                  .values = ValueRounding::f16,
                                  .head_dim = 64,
                                  .value_dim = 128,
                                  .has_limits = true}>(),
    forward_kernel<90, AttnConfig{.element = Element::bf16,
                                  .values = ValueRounding::f16,
                                  .head_dim = 32,
                                  .value_dim = 64,
                                  .has_limits = true,
                                  .is_packed = true}>(),
    forward_kernel<80, AttnConfig{.values = ValueRounding::f16,
                                  .head_dim = 48,
                                  .value_dim = 48,
                                  .is_vectorised = false,
                                  .has_softcap = true}>(),
    forward_kernel<80, AttnConfig{.element = Element::bf16,
                                  .values = ValueRounding::e4m3,
                                  .head_dim = 32,
                                  .value_dim = 64}>(),
    forward_kernel<80,
                   AttnConfig{.values = ValueRounding::e4m3, .head_dim = 128, .value_dim = 256}>(),
    forward_kernel<80, AttnConfig{.values = ValueRounding::f16,
                                  .head_dim = 32,
                                  .value_dim = 64,
                                  .has_limits = true,
                                  .has_alibi = true,
                                  .has_mask = true,
                                  .has_dropout = true}>(),
};

template <size_t kCount>
std::string run(const std::array<Kernel, kCount>& kernels, const AttnConfig& config,
                const gpu::SageParams& params, const gpu::Grid& grid, int smem_bytes,
                const std::vector<MemoryRange>& memory) {
  if (grid.is_empty()) {
    return "";
  }
  for (const Kernel& kernel : kernels) {
    if (kernel.config == config) {
      return emulate(emulated_launch(grid, config.num_threads(), smem_bytes, memory),
                     [&](unsigned short* shared) { kernel.run(params, shared); });
    }
  }
  return "add: " + gpu::literal(config);
}

struct SageCase {
  int compute_capability;
  AttentionCase config;
};
void PrintTo(const SageCase& value, std::ostream* out) { *out << value.config.id(); }

class SageFwdMma : public ::testing::TestWithParam<SageCase> {};

TEST_P(SageFwdMma, Emulated_AgreesWithQuantizedReferenceAndTouchesOnlyItsMemory) {
  const auto& [compute_capability, config] = GetParam();
  const SageJudge judge(config);
  ASSERT_EQ(gpu::why_unsupported_sage_fwd_mma(judge.problem(), compute_capability), "");
  AttentionResults results(config, judge.operands());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.outputs());
  gpu::SageFwdPlan plan =
      gpu::plan_sage_fwd_mma(relocated.problem(), relocated.outputs(), compute_capability);
  SCOPED_TRACE(gpu::describe("sage_fwd_mma", plan.config));
  EXPECT_LE(plan.config.smem_bytes(), gpu::smem_limit_bytes(compute_capability));
  std::vector<uint8_t> workspace(plan.workspace_bytes() + 128, 0x7F);  // NaN until it is written
  void* aligned = workspace.data();
  size_t room = workspace.size();
  ASSERT_NE(std::align(64, plan.workspace_bytes(), aligned, room), nullptr);
  plan.set_workspace(aligned);
  std::vector<MemoryRange> memory = memory_of(relocated);
  memory.push_back({aligned, plan.workspace_bytes(), true});
  const gpu::SageQuantizePlan& operands = plan.operands;
  ASSERT_EQ(run(kMeanKernels, operands.mean_config, operands.params, operands.mean_grid,
                gpu::sage_smem_bytes(operands.mean_config), memory),
            "");
  ASSERT_EQ(run(kQuantizeKernels, operands.config, operands.params, operands.grid,
                gpu::sage_smem_bytes(operands.config), memory),
            "");
  ASSERT_EQ(
      run(kForwardKernels, plan.config, plan.params, plan.grid, plan.config.smem_bytes(), memory),
      "");
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_forward_right(results);
}

std::vector<SageCase> emulated_cases() {
  std::vector<SageCase> cases;
  const auto add = [&](int compute_capability, DType dtype, int64_t sq, int64_t sk, int64_t d,
                       Quantization quantization, auto change) {
    AttentionCase config;
    config.dtype = config.gradient_dtype = dtype;
    config.sq = sq;
    config.sk = sk;
    config.d = config.dv = d;
    config.q_heads = 2;
    config.seed = static_cast<uint32_t>(700 + cases.size());
    config.change = quantized(quantization);
    change(config);
    cases.push_back({compute_capability, config});
  };
  const auto nothing = [](AttentionCase&) {};
  const auto f16 = DType::f16, bf16 = DType::bf16;
  constexpr Quantization kExact, kF16{.values = ValueFormat::f16};
  constexpr Quantization kF8{.values = ValueFormat::f8_e4m3};
  add(80, f16, 140, 200, 64, kExact, nothing);
  add(80, f16, 70, 130, 64, kF16, nothing);
  add(80, f16, 70, 130, 64, {.groups = ScaleGroups::per_warp, .values = ValueFormat::f16}, nothing);
  add(80, f16, 170, 130, 64, {.groups = ScaleGroups::per_block, .values = ValueFormat::f16},
      nothing);
  add(80, f16, 60, 130, 64, {.values = ValueFormat::f16, .smooth_k = false}, nothing);
  add(80, f16, 5, 0, 64, kF16, nothing);
  add(80, bf16, 130, 150, 128, kF16, [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.kv_heads = 1;
    c.layout = Layout::bhsd;
  });
  add(90, bf16, 150, 140, 128, kF16, [](AttentionCase& c) { c.causal = Causal::lower_right; });
  add(90, bf16, 160, 190, 64, kF16, [](AttentionCase& c) {
    c.documents = {{70, 33}, {0, 20}, {85, 137}, {5, 0}};
    c.causal = Causal::lower_right;
  });
  add(80, f16, 70, 90, 81, kF16, [](AttentionCase& c) {
    c.dv = 43;
    c.softcap = 5.0f;
    c.batch = 2;
    c.layout = Layout::sliced;
  });
  add(80, bf16, 70, 150, 64, kF8, nothing);
  add(80, f16, 40, 150, 250, kF8, [](AttentionCase& c) {
    c.d = c.dv = 256;
    c.q_heads = 1;
  });
  add(80, f16, 70, 150, 64, kF16, [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.has_mask = c.has_alibi = true;
    c.dropout = 0.3f;
  });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, SageFwdMma, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) {
                           return "n" + std::to_string(test_info.index) + "_sm" +
                                  std::to_string(test_info.param.compute_capability) + "_" +
                                  test_info.param.config.id();
                         });

// Every 16-bit pattern, spread over the exponents of f32, and the neighbours of middles.
TEST(SageInt8, Arithmetic_IsBitForBitThatOfTheReference) {
  constexpr auto kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> values = {0.0f, -0.0f, 65504.0f, 65519.0f, 1e6f, -1e30f, 448.0f, 464.0f, kNan};
  for (uint32_t word = 0; word < 0x7F800000u; word += 70001) {
    values.push_back(core::float_of(word));
    values.push_back(-core::float_of(word | 0x7FFFFu));
  }
  for (const float x : values) {
    const uint32_t magnitude = core::max_magnitude_bits(&x, 1, 0);
    const float scale = core::scale_of_group(magnitude, 127.0f);
    EXPECT_EQ(core::bits_of(gpu::scale_of_group(gpu::magnitude_word(x), 127.0f)),
              core::bits_of(scale))
        << x;
    for (const float part : {1.0f, 0.5f, 0.3f, -0.77f}) {
      if (!std::isnan(x)) {
        EXPECT_EQ(static_cast<int8_t>(gpu::int8_byte(x * part, scale)),
                  core::int8_of(x * part, scale))
            << x;
      }
    }
    const float e4m3 = core::kShortE4m3.rounded(x);
    EXPECT_EQ(core::bits_of(gpu::rounded_e4m3(x)), core::bits_of(e4m3)) << x;
    if (!std::isnan(x)) {
      EXPECT_EQ(core::f32_from_f16(core::f16_from_f32(gpu::saturated_f16(x))),
                core::kShortF16.rounded(x))
          << x;
    }
  }
}

}  // namespace
}  // namespace regard::testing
