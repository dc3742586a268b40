// attn_append on a GPU against the CPU's rows, bit for bit; skipped, with the reason, on a machine
// without one.
#include <gtest/gtest.h>

#include <vector>

#include "gpu/launch/attn_append.h"
#include "tests/gpu/append_data.h"
#include "tests/gpu/gpu_fixture.h"

namespace regard::testing {
namespace {

class AttnAppendGpu : public GpuTest, public ::testing::WithParamInterface<AppendCase> {};

TEST_P(AttnAppendGpu, Call_WritesTheCpusBits) {
  struct Copy {
    void *here, *there;
    size_t num_bytes;
    bool is_result;
  };
  AppendData data(GetParam());
  const AppendData::Results expected = data.appended_on_cpu();
  const MemoryKind memory = device_memory();
  std::vector<Copy> copies;
  const gpu::AttnAppendPlan plan = data.plan([&](void* here, size_t num_bytes, bool is_result) {
    copies.push_back({here, memory.allocate(num_bytes), num_bytes, is_result});
    memory.copy_in(copies.back().there, here, num_bytes);
    return copies.back().there;
  });
  gpu::launch_attn_append(driver(), plan, compute_capability(), nullptr);
  await_device();
  for (const Copy& copy : copies) {
    if (copy.is_result) {
      memory.copy_out(copy.here, copy.there, copy.num_bytes);
    }
    memory.release(copy.there);
  }
  EXPECT_TRUE(data.results() == expected);
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnAppendGpu, ::testing::ValuesIn(append_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
