// Every planned config of attn_fwd_simt compiles without spills or local memory; prints registers,
// stack and shared memory. By default every config for one arch in turn; REGARD_ALL_CONFIGS=1 takes
// every config for every arch.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/attn_fwd_simt.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

// What the planner makes of head sizes and flags, before it knows the GPU.
std::vector<AttnConfig> unplanned_configs() {
  std::vector<AttnConfig> configs;
  for (const Element element : {Element::f32, Element::bf16}) {
    for (const int head_dim : {32, 64, 96, 128, 256, 512}) {
      AttnConfig config{.element = element, .head_dim = head_dim, .value_dim = head_dim};
      configs.push_back(config);
      config.has_limits = config.has_softcap = config.has_alibi = config.has_mask = true;
      config.has_dropout = config.has_chunks = config.has_sink = true;
      config.bias = BiasFormat::f16;
      config.is_packed = config.has_lengths = true;
      configs.push_back(config);
      config.is_vectorised = config.is_packed = config.has_lengths = false;
      config.is_paged = config.has_block_mask = true;
      configs.push_back(config);
    }
    configs.push_back({.element = element, .head_dim = 192, .value_dim = 128, .has_limits = true});
    configs.push_back({.element = element, .head_dim = 64, .value_dim = 512});
  }
  return configs;
}

TEST(AttnFwdSimtCompile, PlannedConfigs_NeedNoLocalMemory) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  testing::for_each_arch(unplanned_configs(), [&](const AttnConfig& unplanned, int capability) {
    const AttnConfig config = with_simt_tiles(unplanned, capability);
    testing::expect_lean(*compiler, {.stem = "attn_fwd_simt",
                                     .params = "AttnFwdParams",
                                     .config = config,
                                     .compute_capability = capability,
                                     .smem_bytes = forward_layout(config).smem_bytes()});
  });
}

TEST(AttnFwdSimtCompile, AllHeadSizes_FitTheSharedMemoryOfEveryGpu) {
  for (const int capability : testing::kComputeCapabilities) {
    for (int dim = 32; dim <= 512; dim += 32) {
      for (int value_dim = 32; value_dim <= 512; value_dim += 32) {
        const AttnConfig config =
            with_simt_tiles({.head_dim = dim, .value_dim = value_dim}, capability);
        EXPECT_EQ(why_unsupported_simt(config, forward_layout(config)), nullptr);
        EXPECT_LE(forward_layout(config).smem_bytes(), smem_limit_bytes(capability))
            << capability << " " << dim << " " << value_dim;
      }
    }
  }
}

}  // namespace
}  // namespace regard::gpu
