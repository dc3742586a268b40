#include "tests/gpu/gpu_fixture.h"

#include <cstdint>
#include <string>

#include "gpu/jit/nvrtc.h"

namespace regard::testing {
namespace {

gpu::CudaPointer address_of(const void* pointer) {
  return static_cast<gpu::CudaPointer>(reinterpret_cast<uintptr_t>(pointer));
}

}  // namespace

void GpuTest::SetUp() {
  std::string reason;
  driver_ = gpu::cuda_driver(reason);
  if (driver_ == nullptr || gpu::nvrtc(reason) == nullptr) {
    GTEST_SKIP() << reason;
  }
  gpu::CudaDevice device = 0;
  gpu::CudaContext context = nullptr;
  gpu::check(*driver_, driver_->device_get(&device, 0), "cuDeviceGet");
  gpu::check(*driver_, driver_->primary_context_retain(&context, device), "context");
  gpu::check(*driver_, driver_->context_set_current(context), "context");
  compute_capability_ = gpu::compute_capability_of(*driver_, device);
}

MemoryKind GpuTest::device_memory() const {
  const gpu::CudaDriver& driver = *driver_;
  return {[&driver](size_t num_bytes) {
            gpu::CudaPointer pointer = 0;
            gpu::check(driver, driver.memory_allocate(&pointer, num_bytes), "cuMemAlloc");
            return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer));
          },
          [&driver](void* memory) { driver.memory_free(address_of(memory)); },
          [&driver](void* there, const void* here, size_t num_bytes) {
            gpu::check(driver, driver.copy_to_device(address_of(there), here, num_bytes), "copy");
          },
          [&driver](void* here, const void* there, size_t num_bytes) {
            gpu::check(driver, driver.copy_to_host(here, address_of(there), num_bytes), "copy");
          }};
}

void GpuTest::await_device() const {
  gpu::check(*driver_, driver_->stream_synchronize(nullptr), "cuStreamSynchronize");
}

}  // namespace regard::testing
