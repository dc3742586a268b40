// The GPU's row kernels compile for every architecture, without spills or local memory; prints
// their registers. Needs NVRTC, no GPU.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <regex>
#include <string>

#include "gpu/jit/compile.h"
#include "gpu/jit/nvrtc.h"
#include "tests/gpu/kernel_resources.h"
#include "tune/model/row_kernels_text.h"

namespace tune {
namespace {

constexpr int kNumKernels = 10;

void expect_lean(const regard::gpu::Nvrtc& compiler, int compute_capability, bool is_bf16,
                 int step) {
  const std::string config = std::string("{.is_bf16 = ") + (is_bf16 ? "true" : "false") +
                             ", .step = " + std::to_string(step) + "}";
  const std::string source =
      "#define TUNE_ROW_CONFIG " + config + "\n" + std::string(ops::gpu::kRowKernelsText);
  const std::string log = regard::gpu::compile_text_cached(compiler, regard::gpu::KernelCache({}),
                                                           source, compute_capability)
                              .log;
  static const std::regex kUsage(
      R"((\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads)");
  int num_kernels = 0;
  for (std::sregex_iterator found(log.begin(), log.end(), kUsage), end; found != end; ++found) {
    ++num_kernels;
    for (size_t i = 1; i <= 3; ++i) EXPECT_EQ((*found)[i], "0") << config << "\n" << log;
  }
  EXPECT_EQ(num_kernels, kNumKernels) << log;
  static const std::regex kRegisters(R"(Used (\d+) registers)");
  std::cout << "sm_" << compute_capability << " " << config << ": registers";
  for (std::sregex_iterator found(log.begin(), log.end(), kRegisters), end; found != end; ++found) {
    std::cout << " " << (*found)[1];
  }
  std::cout << "\n";
}

// By default each config for one architecture in turn; REGARD_ALL_CONFIGS=1 takes all for all.
TEST(RowKernelsCompile, EveryConfig_NeedsNoLocalMemory) {
  std::string reason;
  const regard::gpu::Nvrtc* compiler = regard::gpu::nvrtc(reason);
  if (compiler == nullptr) GTEST_SKIP() << reason;
  const bool takes_all = std::getenv("REGARD_ALL_CONFIGS") != nullptr;
  const auto& archs = regard::testing::kComputeCapabilities;
  size_t turn = 0;
  for (const bool is_bf16 : {false, true}) {
    for (const int step : {1, 8}) {
      ++turn;
      for (size_t i = 0; i < archs.size(); ++i) {
        const bool has_bf16 = archs[i] >= 80;
        if ((takes_all || i == turn % archs.size()) && (has_bf16 || !is_bf16)) {
          expect_lean(*compiler, archs[i], is_bf16, step);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tune
