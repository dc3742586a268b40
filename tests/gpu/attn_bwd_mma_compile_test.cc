// Every planned config of attn_bwd_mma and the kernels around it compiles without spills or local
// memory. As attn_fwd_mma_compile_test, one arch in turn; REGARD_ALL_CONFIGS=1 takes every config
// for every arch.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/attn_bwd_mma.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

using testing::kComputeCapabilities;

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
    everything.has_dropout = true;
    configs.push_back(everything);
  }
  configs.push_back({.head_dim = 192, .value_dim = 128, .has_limits = true});
  return configs;
}

// The listed exception: dK, dV, S and dP fill the registers, and ptxas 13.0 keeps a few addresses,
// loaded up to 40 times in its text, in local memory.
constexpr int kAllowedBytes = 160;

void expect_planned_lean(const Nvrtc& compiler, AttnConfig unplanned, int compute_capability) {
  unplanned.element = compute_capability == 75 ? Element::f16 : Element::bf16;
  const auto expect = [&](const char* stem, const AttnConfig& config, int smem_bytes) {
    testing::expect_lean(compiler,
                         {.stem = stem,
                          .params = "AttnBwdParams",
                          .config = config,
                          .compute_capability = compute_capability,
                          .smem_bytes = smem_bytes},
                         smem_bytes > 0 ? kAllowedBytes : 0);
  };
  const AttnConfig tiles = with_bwd_tiles(unplanned, compute_capability);
  expect("attn_bwd_delta", delta_config(tiles), 0);
  expect("attn_bwd_mma", tiles, bwd_layout(tiles).num_bytes);
  expect("attn_bwd_convert", convert_config(tiles), 0);
  unplanned.is_deterministic = true;
  const AttnConfig deterministic = with_bwd_tiles(unplanned, compute_capability);
  expect("attn_bwd_mma", deterministic, bwd_layout(deterministic).num_bytes);
  const AttnConfig dq = with_dq_tiles(unplanned, compute_capability);
  expect("attn_bwd_dq_mma", dq, dq_smem_bytes(dq));
}

TEST(AttnBwdMmaCompile, PlannedConfigs_NeedNoLocalMemory) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  testing::for_each_arch(unplanned_configs(), [&](const AttnConfig& config, int capability) {
    expect_planned_lean(*compiler, config, capability);
  });
}

TEST(AttnBwdMmaCompile, AllHeadSizes_FitTheSharedMemoryOfEveryGpu) {
  for (const int compute_capability : kComputeCapabilities) {
    const int limit = smem_limit_bytes(compute_capability);
    for (int dim = 16; dim <= 256; dim += 16) {
      for (int value_dim = 16; value_dim <= 256; value_dim += 16) {
        const AttnConfig unplanned{.head_dim = dim, .value_dim = value_dim};
        const AttnConfig tiles = with_bwd_tiles(unplanned, compute_capability);
        const AttnConfig dq = with_dq_tiles(unplanned, compute_capability);
        SCOPED_TRACE(describe("attn_bwd_mma", tiles));
        EXPECT_EQ(why_unsupported_bwd(tiles), nullptr) << why_unsupported_bwd(tiles);
        EXPECT_EQ(why_unsupported(dq), nullptr) << why_unsupported(dq);
        EXPECT_LE(bwd_layout(tiles).num_bytes, limit);
        EXPECT_LE(dq_smem_bytes(dq), limit);
      }
    }
  }
}

}  // namespace
}  // namespace regard::gpu
