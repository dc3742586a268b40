// Kernels of the caller on a GPU.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "regard/cuda_kernel.h"
#include "regard/error.h"
#include "tests/gpu/gpu_fixture.h"

namespace regard::testing {
namespace {

struct ScaleParams {
  float* values;
  int count;
  float factor;
};

const std::string kScale = R"(
#include "platform.cuh"
struct ScaleParams { float* values; int count; float factor; };
extern "C" __global__ void scale(const __grid_constant__ ScaleParams p) {
  const int i = regard::gpu::block_x() * 64 + regard::gpu::thread_in_block();
  if (i < p.count) {
    regard::gpu::store_global(p.values + i, regard::gpu::load_global(p.values + i) * p.factor);
  }
}
)";

class CudaKernelsOnGpu : public GpuTest {};

TEST_F(CudaKernelsOnGpu, Launch_RunsTheTextOverTheGrid) {
  const CudaKernels kernels(kScale);
  std::vector<float> values(100);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const size_t num_bytes = values.size() * sizeof(float);
  gpu::CudaPointer memory = 0;
  ASSERT_EQ(driver().memory_allocate(&memory, num_bytes), 0);
  ASSERT_EQ(driver().copy_to_device(memory, values.data(), num_bytes), 0);
  const ScaleParams params{reinterpret_cast<float*>(memory), 100, 3.0f};
  kernels.launch("scale", {2, 1, 64}, &params);
  kernels.launch("scale", {0, 1, 64}, &params);  // nothing
  await_device();
  ASSERT_EQ(driver().copy_to_host(values.data(), memory, num_bytes), 0);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], 3.0f * static_cast<float>(i));
  driver().memory_free(memory);
}

TEST_F(CudaKernelsOnGpu, WrongText_GivesTheCompilersLog) {
  const CudaKernels kernels("extern \"C\" __global__ void broken(int x) { not_a_function(x); }");
  const int params = 1;
  try {
    kernels.launch("broken", {}, &params);
    FAIL() << "compiled";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not_a_function"), std::string::npos);
  }
}

TEST_F(CudaKernelsOnGpu, UnknownName_IsRefused) {
  const CudaKernels kernels(kScale);
  const ScaleParams params{};
  EXPECT_THROW(kernels.launch("scael", {}, &params), Error);
}

}  // namespace
}  // namespace regard::testing
