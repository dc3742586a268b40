// Every planned config of sage_mean, sage_quantize and sage_fwd_mma compiles without spills or
// local memory; prints registers, stack and shared memory. By default every config for one arch in
// turn; REGARD_ALL_CONFIGS=1 takes every config for every arch.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gpu/jit/nvrtc.h"
#include "gpu/plan/sage_fwd_mma.h"
#include "tests/gpu/kernel_resources.h"

namespace regard::gpu {
namespace {

using testing::kComputeCapabilities;

// From Ampere on.
bool takes(size_t turn, size_t arch) {
  return kComputeCapabilities[arch] >= 80 && (std::getenv("REGARD_ALL_CONFIGS") != nullptr ||
                                              arch == 1 + turn % (kComputeCapabilities.size() - 1));
}

// Before the planner knows the GPU.
std::vector<AttnConfig> forward_configs() {
  std::vector<AttnConfig> configs;
  for (const int dim : {64, 96, 128, 256}) {
    for (const bool has_limits : {false, true}) {
      configs.push_back({.element = Element::bf16,
                         .values = ValueRounding::f16,
                         .head_dim = dim / 2,
                         .value_dim = dim,
                         .has_limits = has_limits});
    }
    AttnConfig e4m3 = configs.back();
    e4m3.values = ValueRounding::e4m3;
    configs.push_back(e4m3);
    AttnConfig features = configs[configs.size() - 2];
    features.has_softcap = features.has_alibi = features.is_packed = true;
    configs.push_back(features);
  }
  return configs;
}

class SageCompile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    compiler_ = nvrtc(reason);
    if (compiler_ == nullptr) {
      GTEST_SKIP() << reason;
    }
  }
  void expect_lean(const char* stem, const AttnConfig& config, int compute_capability,
                   int smem_bytes, int allowed_bytes = 0) const {
    testing::expect_lean(*compiler_,
                         {.stem = stem,
                          .params = "SageParams",
                          .config = config,
                          .compute_capability = compute_capability,
                          .smem_bytes = smem_bytes},
                         allowed_bytes);
  }

 private:
  const Nvrtc* compiler_ = nullptr;
};

TEST_F(SageCompile, Forward_NeedsNoLocalMemory) {
  size_t turn = 0;
  for (const AttnConfig& unplanned : forward_configs()) {
    for (size_t i = 0; i < kComputeCapabilities.size(); ++i) {
      if (takes(turn, i)) {
        const AttnConfig config = with_sage_tiles(unplanned, kComputeCapabilities[i]);
        expect_lean("sage_fwd_mma", config, kComputeCapabilities[i], config.smem_bytes());
      }
    }
    ++turn;
  }
}

TEST_F(SageCompile, Quantisation_NeedsNoLocalMemory) {
  size_t turn = 0;
  for (const int dim : {32, 64, 128, 256}) {
    for (const bool is_vectorised : {false, true}) {
      AttnConfig config{.element = Element::bf16,
                        .head_dim = dim,
                        .value_dim = dim,
                        .num_warps = 4,
                        .is_vectorised = is_vectorised};
      for (size_t i = 0; i < kComputeCapabilities.size(); ++i) {
        if (takes(turn, i)) {
          config.num_warps = 4;
          expect_lean("sage_quantize", config, kComputeCapabilities[i], sage_smem_bytes(config));
          config.num_warps = 32;
          expect_lean("sage_mean", config, kComputeCapabilities[i], sage_smem_bytes(config));
        }
      }
      ++turn;
    }
  }
}

}  // namespace
}  // namespace regard::gpu
