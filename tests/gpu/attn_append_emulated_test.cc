// The text of attn_append on the emulator against the CPU's rows, bit for bit: pages out of order,
// packed and unpacked tokens, both ways to pair columns, tables of every format.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/kernels/attn_append.cuh"
#include "gpu/plan/print_config.h"
#include "tests/gpu/append_data.h"
#include "tests/gpu/emulated_launch.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::Element;

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::AttnAppendParams&, unsigned short*);
};
template <Element kElement, bool kIsPacked>
constexpr Kernel kernel() {
  constexpr AttnConfig kConfig{
      .element = kElement, .num_warps = 4, .is_packed = kIsPacked, .is_paged = true};
  return {kConfig, gpu::attn_append<kConfig>};
}
constexpr Kernel kKernels[] = {kernel<Element::f16, false>(), kernel<Element::f16, true>(),
                               kernel<Element::bf16, false>(), kernel<Element::bf16, true>()};

std::string run(const gpu::AttnAppendPlan& plan, const std::vector<MemoryRange>& memory) {
  for (const Kernel& kernel : kKernels) {
    if (kernel.config == plan.config) {
      return emulate(emulated_launch(plan.grid, plan.config.num_threads(), 0, memory),
                     [&](unsigned short* shared) { kernel.run(plan.params, shared); });
    }
  }
  return "add to kKernels: " + gpu::literal(plan.config);
}

class AttnAppend : public ::testing::TestWithParam<AppendCase> {};

TEST_P(AttnAppend, Emulated_WritesTheCpusBitsAndNothingElse) {
  AppendData data(GetParam());
  const AppendData::Results expected = data.appended_on_cpu();
  EXPECT_FALSE(data.results() == expected);
  std::vector<MemoryRange> memory;
  const gpu::AttnAppendPlan plan = data.plan([&](void* here, size_t num_bytes, bool is_result) {
    memory.push_back({here, num_bytes, is_result});
    return here;
  });
  ASSERT_EQ(run(plan, memory), "");
  EXPECT_TRUE(data.results() == expected);
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnAppend, ::testing::ValuesIn(append_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
