// Every planned config of attn_fwd_mma compiles without spills or local memory; prints registers,
// stack and shared memory. By default every config for one arch in turn; REGARD_ALL_CONFIGS=1 takes
// every config for every arch.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/attn_fwd_mma.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

using testing::kComputeCapabilities;

// Each feature that costs registers, then all of them.
std::vector<AttnConfig> with_features(const AttnConfig& base) {
  std::vector<AttnConfig> configs(7, base);
  configs[0].has_mask = true;
  configs[1].bias = BiasFormat::f32;
  configs[2].has_dropout = true;
  configs[3].has_block_mask = configs[3].has_mask_program = true;
  configs[4].has_score_program = true;
  configs[5].has_chunks = configs[5].has_sink = configs[5].is_packed = true;
  configs[5].has_lengths = true;
  AttnConfig& all = configs[6];
  all.bias = BiasFormat::bf16;
  all.is_vectorised = false;
  all.has_softcap = all.has_alibi = all.is_packed = all.has_lengths = all.has_chunks = true;
  all.has_mask = all.has_sink = all.has_dropout = all.has_block_mask = true;
  all.has_score_program = all.has_mask_program = true;
  return configs;
}

// What the planner makes of head sizes and flags, before it knows the GPU.
std::vector<AttnConfig> unplanned_configs() {
  std::vector<AttnConfig> configs;
  for (const int head_dim : {16, 64, 96, 128, 192, 256}) {
    for (const bool has_limits : {false, true}) {
      configs.push_back({.head_dim = head_dim, .value_dim = head_dim, .has_limits = has_limits});
    }
  }
  for (const int head_dim : {64, 128, 256}) {
    AttnConfig everything{.head_dim = head_dim, .value_dim = head_dim};
    everything.has_limits = everything.has_softcap = everything.has_alibi = true;
    everything.is_packed = true;
    configs.push_back(everything);
    everything.is_vectorised = false;
    configs.push_back(everything);
  }
  for (const int head_dim : {64, 128, 256}) {
    const AttnConfig causal{.head_dim = head_dim, .value_dim = head_dim, .has_limits = true};
    for (const auto& config : with_features(causal)) {
      configs.push_back(config);
    }
  }
  configs.push_back({.head_dim = 192, .value_dim = 128, .has_limits = true});
  configs.push_back({.head_dim = 128, .value_dim = 256});
  return configs;
}

// The listed exceptions. 256 value columns take 128 registers for O alone, and ptxas 13.0 keeps a
// few addresses in local memory where Q has another size, or where pairs have terms of their own
// (on Turing a block mask's list too). O and S of 128 rows by 64 keys take 192, and by 32 keys 160
// beside elements of a mask or bias: addresses that a step reads once are kept there, which
// measured faster than fewer keys, or rows, without.
int allowed_stack_bytes(const AttnConfig& config, int compute_capability) {
  const bool has_other_q = config.head_dim == 128 && config.value_dim == 256;
  const bool has_everything = config.has_score_program && config.has_mask && config.has_dropout;
  const bool reads_tensors = config.has_mask || config.bias != BiasFormat::none;
  const bool is_largest_tile =
      config.block_q == 128 && config.value_dim > 96 && (config.block_k == 64 || reads_tensors);
  const bool has_large_rows =
      config.value_dim > 192 && (config.changes_pairs() || config.has_chunks);
  const bool is_turing = compute_capability == 75;
  if (is_largest_tile || (has_large_rows && is_turing)) {
    return 64;
  }
  return (compute_capability == 90 && has_other_q) || has_everything || has_large_rows ? 32 : 0;
}

void expect_lean(const Nvrtc& compiler, const AttnConfig& unplanned, int compute_capability,
                 bool has_few_keys) {
  AttnConfig config = with_tiles(unplanned, compute_capability, has_few_keys);
  // Turing has no bf16; elsewhere it is what models are trained in.
  config.element = compute_capability == 75 ? Element::f16 : Element::bf16;
  testing::expect_lean(compiler,
                       {.stem = "attn_fwd_mma",
                        .params = "AttnFwdParams",
                        .config = config,
                        .compute_capability = compute_capability,
                        .smem_bytes = config.smem_bytes()},
                       allowed_stack_bytes(config, compute_capability));
}

TEST(AttnFwdMmaCompile, PlannedConfigs_NeedNoLocalMemory) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  testing::for_each_arch(unplanned_configs(), [&](const AttnConfig& config, int capability) {
    expect_lean(*compiler, config, capability, false);
    if (with_tiles(config, capability, true) != with_tiles(config, capability, false)) {
      expect_lean(*compiler, config, capability, true);
    }
  });
}

TEST(AttnFwdMmaCompile, LargestHeads_FitTheSharedMemoryOfEveryGpu) {
  for (const int compute_capability : kComputeCapabilities) {
    for (int dim = 16; dim <= 256; dim += 16) {
      for (int value_dim = 16; value_dim <= 256; value_dim += 16) {
        const AttnConfig config =
            with_tiles({.head_dim = dim, .value_dim = value_dim}, compute_capability, false);
        EXPECT_EQ(why_unsupported(config), nullptr);
        EXPECT_LE(config.smem_bytes(), smem_limit_bytes(compute_capability))
            << compute_capability << " " << dim << " " << value_dim;
      }
    }
  }
}

}  // namespace
}  // namespace regard::gpu
