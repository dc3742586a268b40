// The texts of attn_bwd_mma and of the kernels around it, run on the emulator of a thread block,
// against the reference.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/kernels/attn_bwd_clear.cuh"
#include "gpu/kernels/attn_bwd_convert.cuh"
#include "gpu/kernels/attn_bwd_delta.cuh"
#include "gpu/kernels/attn_bwd_dq_mma.cuh"
#include "gpu/kernels/attn_bwd_mma.cuh"
#include "tests/gpu/emulated_backward.h"
#include "tests/gpu/emulated_case.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::BiasFormat;
using gpu::Element;

// Every kernel that the planner may ask for where config_of gives kCfg.
template <int kComputeCapability, AttnConfig kCfg>
void add_kernels(std::vector<BackwardText>& kernels) {
  constexpr AttnConfig kTiles = gpu::with_bwd_tiles(kCfg, kComputeCapability);
  // O may lie in whole pieces where q does not, and the other way round.
  constexpr AttnConfig kDelta = with_whole_pieces(gpu::delta_config(kTiles));
  constexpr AttnConfig kScattered = with_rows_apart(kDelta);
  kernels.push_back({"attn_bwd_mma", kTiles, gpu::attn_bwd_mma<kTiles>});
  kernels.push_back({"attn_bwd_delta", kDelta, gpu::attn_bwd_delta<kDelta>});
  kernels.push_back({"attn_bwd_delta", kScattered, gpu::attn_bwd_delta<kScattered>});
  if constexpr (kCfg.is_deterministic) {
    constexpr AttnConfig kDq = gpu::with_dq_tiles(kCfg, kComputeCapability);
    kernels.push_back({"attn_bwd_dq_mma", kDq, gpu::attn_bwd_dq_mma<kDq>});
  } else {
    constexpr AttnConfig kConvert = gpu::convert_config(kTiles);
    kernels.push_back({"attn_bwd_convert", kConvert, gpu::attn_bwd_convert<kConvert>});
  }
}

constexpr AttnConfig deterministic(AttnConfig config) {
  config.is_deterministic = true;
  return config;
}

// Both ways to dQ.
template <int kComputeCapability, AttnConfig kCfg>
void add_both(std::vector<BackwardText>& kernels) {
  add_kernels<kComputeCapability, kCfg>(kernels);
  add_kernels<kComputeCapability, deterministic(kCfg)>(kernels);
}

constexpr AttnConfig kPlain64{.element = Element::f16, .head_dim = 64, .value_dim = 64};
constexpr AttnConfig kCausal128{
    .element = Element::bf16, .head_dim = 128, .value_dim = 128, .has_limits = true};
constexpr AttnConfig kPacked{
    .head_dim = 48, .value_dim = 16, .has_limits = true, .is_packed = true};
constexpr AttnConfig kScatteredTerms{.head_dim = 16,
                                     .value_dim = 16,
                                     .is_vectorised = false,
                                     .has_limits = true,
                                     .has_softcap = true,
                                     .has_alibi = true};
constexpr AttnConfig kLengths{.element = Element::bf16,
                              .head_dim = 32,
                              .value_dim = 32,
                              .is_vectorised = false,
                              .has_limits = true,
                              .has_alibi = true,
                              .is_packed = true,
                              .has_lengths = true,
                              .is_deterministic = true};
constexpr AttnConfig kMaskAndBias{.element = Element::bf16,
                                  .bias = BiasFormat::bf16,
                                  .head_dim = 32,
                                  .value_dim = 32,
                                  .has_mask = true,
                                  .has_dropout = true};
constexpr AttnConfig kChunksAndSink{
    .head_dim = 32, .value_dim = 32, .has_chunks = true, .has_sink = true};
constexpr AttnConfig kBlocks{
    .head_dim = 32, .value_dim = 32, .has_limits = true, .has_block_mask = true};
constexpr AttnConfig kDropout64{.head_dim = 64, .value_dim = 64, .has_dropout = true};
constexpr AttnConfig kWide{.element = Element::bf16, .head_dim = 192, .value_dim = 128};
constexpr AttnConfig kWidest{
    .element = Element::f16, .head_dim = 256, .value_dim = 256, .has_limits = true};
constexpr AttnConfig kCausal64{.head_dim = 64, .value_dim = 64, .has_limits = true};
constexpr AttnConfig kScattered128{.head_dim = 128, .value_dim = 128, .is_vectorised = false};

const std::vector<BackwardText>& kernels() {
  static const std::vector<BackwardText> kKernels = [] {
    std::vector<BackwardText> all{
        {"attn_bwd_clear", gpu::clear_config(), gpu::attn_bwd_clear<gpu::clear_config()>}};
    add_both<80, kPlain64>(all);
    add_both<80, kCausal128>(all);
    add_both<80, kPacked>(all);
    add_both<80, kScatteredTerms>(all);
    add_kernels<80, kLengths>(all);
    add_both<80, kMaskAndBias>(all);
    add_both<80, kChunksAndSink>(all);
    add_both<80, kBlocks>(all);
    add_kernels<80, kDropout64>(all);
    add_both<80, kWide>(all);
    add_kernels<86, kCausal128>(all);
    add_both<86, kWidest>(all);
    add_both<75, kCausal64>(all);
    add_kernels<75, kDropout64>(all);
    add_both<75, kScattered128>(all);
    add_both<75, kWidest>(all);
    return all;
  }();
  return kKernels;
}

struct EmulatedBackward {
  int compute_capability;
  AttentionCase config;
  bool is_deterministic;
};
void PrintTo(const EmulatedBackward& value, std::ostream* out) { *out << value.config.id(); }

class AttnBwdMma : public ::testing::TestWithParam<EmulatedBackward> {};

TEST_P(AttnBwdMma, Emulated_AgreesWithReferenceAndTouchesOnlyItsMemory) {
  const EmulatedBackward& value = GetParam();
  expect_backward_right(
      kernels(), value.compute_capability, value.config,
      [&](const Problem& problem, const BackwardTensors& tensors) {
        return gpu::why_unsupported_attn_bwd_mma(problem, tensors, value.compute_capability);
      },
      [&](const Problem& problem, const BackwardTensors& tensors) {
        return gpu::plan_attn_bwd_mma(problem, tensors, value.compute_capability,
                                      value.is_deterministic);
      });
}

std::vector<EmulatedBackward> emulated_cases() {
  std::vector<EmulatedBackward> cases;
  const auto add_one = [&](int compute_capability, bool is_deterministic, AttentionCase config,
                           auto change) {
    change(config);
    cases.push_back({compute_capability, config, is_deterministic});
  };
  const auto add = [&](int compute_capability, const AttentionCase& config, auto change) {
    add_one(compute_capability, false, config, change);
    add_one(compute_capability, true, config, change);
  };
  const auto f16 = DType::f16, bf16 = DType::bf16;
  add(80, case_of(f16, 129, 200, 64, 64), [](AttentionCase& c) {
    c.q_heads = 2;
    c.has_d_lse = true;
  });
  add(80, case_of(f16, 5, 0, 64, 64), [](AttentionCase&) {});
  add(80, case_of(f16, 0, 5, 64, 64), [](AttentionCase&) {});
  add(80, case_of(bf16, 130, 97, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.layout = Layout::bhsd;
    c.gradient_dtype = DType::f32;
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
  add_one(80, true, case_of(bf16, 90, 80, 20, 31), [](AttentionCase& c) {
    c.documents = {{30, 50}, {50, 20}};
    c.unowned = 5;
    c.window = {.left = 10, .right = 0};
    c.has_alibi = true;
  });
  add(80, case_of(bf16, 75, 140, 32, 32), [](AttentionCase& c) {
    c.has_mask = c.has_bias = true;
    c.dropout = 0.3f;
    c.q_heads = 2;
  });
  add(80, case_of(f16, 140, 140, 32, 32), [](AttentionCase& c) {
    c.chunks = {.size = 60, .shift = 30, .first_shifted_head = 1};
    c.has_sink = true;
    c.q_heads = 2;
  });
  add(80, case_of(f16, 140, 150, 32, 32), [](AttentionCase& c) {
    c.block_q = 32;
    c.block_k = 48;
    c.causal = Causal::lower_right;
  });
  add_one(80, false, case_of(f16, 70, 150, 64, 64), [](AttentionCase& c) {
    c.dropout = 0.5f;
    c.batch = 2;
  });
  add(80, case_of(bf16, 70, 90, 192, 128), [](AttentionCase& c) { c.q_magnitude = 4.0f; });
  add_one(86, false, case_of(bf16, 70, 90, 128, 128),
          [](AttentionCase& c) { c.causal = Causal::lower_right; });
  add(86, case_of(f16, 66, 70, 256, 256), [](AttentionCase& c) { c.causal = Causal::upper_left; });
  add(75, case_of(f16, 140, 140, 64, 64), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.q_magnitude = 8.0f;
  });
  add_one(75, false, case_of(f16, 40, 70, 64, 64), [](AttentionCase& c) { c.dropout = 0.2f; });
  add(75, case_of(f16, 33, 65, 121, 128), [](AttentionCase& c) { c.has_d_lse = true; });
  add(75, case_of(f16, 37, 40, 248, 256), [](AttentionCase& c) { c.causal = Causal::lower_right; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnBwdMma, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) {
                           const EmulatedBackward& value = test_info.param;
                           return "sm" + std::to_string(value.compute_capability) +
                                  (value.is_deterministic ? "_deterministic_" : "_") +
                                  value.config.id();
                         });

}  // namespace
}  // namespace regard::testing
