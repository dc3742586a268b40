// Every planned config of attn_decode_mma and attn_combine compiles without spills or local memory,
// and the number of splits is a sensible one. As attn_fwd_mma_compile_test, one arch in turn;
// REGARD_ALL_CONFIGS=1 takes every config for every arch.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/attn_decode_mma.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

using testing::kComputeCapabilities;

struct Unplanned {
  AttnConfig config;
  int num_rows;
};

// What the planner makes of head sizes and flags, before it knows the GPU.
std::vector<Unplanned> unplanned_configs() {
  std::vector<Unplanned> configs;
  for (const int head_dim : {16, 64, 96, 128, 192, 256}) {
    for (const int num_rows : {1, 32}) {
      configs.push_back({{.head_dim = head_dim, .value_dim = head_dim}, num_rows});
      configs.push_back(
          {{.head_dim = head_dim, .value_dim = head_dim, .has_limits = true, .is_paged = true},
           num_rows});
    }
  }
  for (const int head_dim : {64, 128, 256}) {
    AttnConfig everything{.bias = BiasFormat::bf16, .head_dim = head_dim, .value_dim = head_dim};
    everything.has_limits = everything.has_softcap = everything.has_alibi = true;
    everything.has_mask = everything.has_sink = everything.has_chunks = true;
    everything.is_packed = everything.has_lengths = true;
    configs.push_back({everything, 32});
    everything.is_vectorised = false;
    everything.is_paged = true;
    configs.push_back({everything, 1});
  }
  configs.push_back({{.head_dim = 192, .value_dim = 128, .has_limits = true}, 16});
  configs.push_back({{.head_dim = 128, .value_dim = 256}, 16});
  return configs;
}

// The listed exceptions: 256 value columns take 128 registers for O, and masks, biases, chunks,
// ALiBi and a sink at once take more than the rest of Turing's, whose products need two steps; rows
// of 24 pieces do not divide evenly among the threads, and ptxas 13.0 keeps addresses of them all.
int allowed_stack_bytes(const AttnConfig& config, int compute_capability) {
  const bool has_everything = config.has_mask && config.has_chunks && config.has_alibi;
  if (compute_capability == 75 && config.value_dim == 256 && has_everything) {
    return 36;
  }
  return compute_capability >= 100 && config.head_dim == 192 && config.value_dim == 192 ? 48 : 0;
}

void expect_planned_lean(const Nvrtc& compiler, const Unplanned& unplanned,
                         int compute_capability) {
  AttnConfig config = with_decode_tiles(unplanned.config, unplanned.num_rows, compute_capability);
  config.element = compute_capability == 75 ? Element::f16 : Element::bf16;
  testing::expect_lean(compiler,
                       {.stem = "attn_decode_mma",
                        .params = "AttnDecodeParams",
                        .config = config,
                        .compute_capability = compute_capability,
                        .smem_bytes = decode_smem_bytes(config)},
                       allowed_stack_bytes(config, compute_capability));
  const AttnConfig combine = combine_config(config);
  testing::expect_lean(compiler, {.stem = "attn_combine",
                                  .params = "AttnDecodeParams",
                                  .config = combine,
                                  .compute_capability = compute_capability,
                                  .smem_bytes = combine_smem_bytes(combine)});
}

TEST(AttnDecodeMmaCompile, PlannedConfigs_NeedNoLocalMemory) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  testing::for_each_arch(unplanned_configs(), [&](const Unplanned& config, int capability) {
    expect_planned_lean(*compiler, config, capability);
  });
}

TEST(AttnDecodeMmaCompile, AllHeadSizes_FitTheSharedMemoryOfEveryGpu) {
  for (const int compute_capability : kComputeCapabilities) {
    for (int dim = 16; dim <= 256; dim += 16) {
      for (int value_dim = 16; value_dim <= 256; value_dim += 16) {
        for (const int num_rows : {1, 32}) {
          const AttnConfig config = with_decode_tiles({.head_dim = dim, .value_dim = value_dim},
                                                      num_rows, compute_capability);
          EXPECT_EQ(why_unsupported_decode(config), nullptr);
          EXPECT_LE(decode_smem_bytes(config), smem_limit_bytes(compute_capability))
              << compute_capability << " " << dim << " " << value_dim;
        }
      }
    }
  }
}

TEST(AttnDecodeMmaPlan, Splits_FillTheGpuAndNoMore) {
  constexpr int kResident = 264, kStep = 64;
  EXPECT_EQ(num_splits_of(8, 65536, kResident, kStep), 32);   // 8 * 32 <= 264; 33 gain nothing
  EXPECT_EQ(num_splits_of(128, 4096, kResident, kStep), 2);   // 128 * 2 <= 264 < 128 * 3
  EXPECT_EQ(num_splits_of(264, 65536, kResident, kStep), 1);  // full already
  EXPECT_EQ(num_splits_of(4096, 65536, kResident, kStep), 1);
  EXPECT_EQ(num_splits_of(1, 64, kResident, kStep), 1);  // one step cannot be cut
  EXPECT_EQ(num_splits_of(1, 0, kResident, kStep), 1);
  EXPECT_LE(num_splits_of(1, 1 << 29, 100000, kStep), 128);
}

}  // namespace
}  // namespace regard::gpu
