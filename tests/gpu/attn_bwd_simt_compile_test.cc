// Every planned config of attn_bwd_simt compiles without spills or local memory; prints registers,
// stack and shared memory. By default every config for one arch in turn; REGARD_ALL_CONFIGS=1 takes
// every config for every arch.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/attn_bwd_simt.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

// What the planner makes of head sizes and flags, before it knows the GPU.
std::vector<AttnConfig> unplanned_configs() {
  std::vector<AttnConfig> configs;
  for (const Element element : {Element::f32, Element::bf16}) {
    for (const int head_dim : {32, 64, 128, 256, 512}) {
      AttnConfig config{.element = element,
                        .head_dim = head_dim,
                        .value_dim = head_dim,
                        .is_deterministic = true};
      configs.push_back(config);
      config.has_limits = config.has_softcap = config.has_alibi = config.has_mask = true;
      config.has_dropout = config.has_chunks = config.has_sink = true;
      config.bias = BiasFormat::f16;
      config.is_packed = config.has_lengths = true;
      configs.push_back(config);
    }
  }
  configs.push_back({.element = Element::f32,
                     .head_dim = 192,
                     .value_dim = 128,
                     .is_vectorised = false,
                     .has_limits = true,
                     .has_block_mask = true,
                     .is_deterministic = true});
  return configs;
}

TEST(AttnBwdSimtCompile, PlannedConfigs_NeedNoLocalMemory) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  const auto expect_lean = [&](const char* stem, const AttnConfig& config, int smem_bytes,
                               int capability) {
    testing::expect_lean(*compiler, {.stem = stem,
                                     .params = "AttnBwdParams",
                                     .config = config,
                                     .compute_capability = capability,
                                     .smem_bytes = smem_bytes});
  };
  testing::for_each_arch(unplanned_configs(), [&](const AttnConfig& unplanned, int capability) {
    const AttnConfig dkv = with_simt_dkv_tiles(unplanned, capability);
    expect_lean("attn_bwd_simt_dkv", dkv, key_gradient_layout(dkv).smem_bytes(), capability);
    const AttnConfig dq = with_simt_dq_tiles(unplanned, capability);
    expect_lean("attn_bwd_simt_dq", dq, query_gradient_layout(dq).smem_bytes(), capability);
  });
}

TEST(AttnBwdSimtCompile, AllHeadSizes_FitTheSharedMemoryOfEveryGpu) {
  for (const int capability : testing::kComputeCapabilities) {
    for (int dim = 32; dim <= 512; dim += 32) {
      for (int value_dim = 32; value_dim <= 512; value_dim += 32) {
        const AttnConfig unplanned{.head_dim = dim, .value_dim = value_dim};
        const AttnConfig dkv = with_simt_dkv_tiles(unplanned, capability);
        const AttnConfig dq = with_simt_dq_tiles(unplanned, capability);
        EXPECT_EQ(why_unsupported_simt(dkv, key_gradient_layout(dkv)), nullptr);
        EXPECT_EQ(why_unsupported_simt(dq, query_gradient_layout(dq)), nullptr);
        EXPECT_LE(key_gradient_layout(dkv).smem_bytes(), smem_limit_bytes(capability))
            << capability << " " << dim << " " << value_dim;
        EXPECT_LE(query_gradient_layout(dq).smem_bytes(), smem_limit_bytes(capability))
            << capability << " " << dim << " " << value_dim;
      }
    }
  }
}

}  // namespace
}  // namespace regard::gpu
