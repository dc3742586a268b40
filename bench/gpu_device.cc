#include "bench/gpu_device.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "bench/cuda_events.h"
#include "regard/error.h"

namespace regard::bench {
GpuDevice::GpuDevice() {
  std::string reason;
  driver_ = gpu::cuda_driver(reason);
  if (driver_ == nullptr) {
    throw Error(ErrorCode::unsupported, reason);
  }
  gpu::CudaDevice device = 0;
  gpu::CudaContext context = nullptr;
  gpu::check(*driver_, driver_->device_get(&device, 0), "cuDeviceGet");
  gpu::check(*driver_, driver_->primary_context_retain(&context, device), "context");
  gpu::check(*driver_, driver_->context_set_current(context), "context");
  compute_capability_ = gpu::compute_capability_of(*driver_, device);
}

void* GpuDevice::allocate(size_t num_bytes) const {
  gpu::CudaPointer pointer = 0;
  gpu::check(*driver_, driver_->memory_allocate(&pointer, num_bytes), "cuMemAlloc");
  return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer));
}

void GpuDevice::copy(void* there, const void* here, size_t num_bytes) const {
  const auto address = static_cast<gpu::CudaPointer>(reinterpret_cast<uintptr_t>(there));
  gpu::check(*driver_, driver_->copy_to_device(address, here, num_bytes), "copy");
}

double GpuDevice::microseconds(int num_launches, const std::function<void()>& enqueue) const {
  static const Events events;
  for (int i = 0; i < 5; ++i) {
    enqueue();
  }
  std::vector<void*> marks(static_cast<size_t>(num_launches) + 1);
  for (void*& mark : marks) {
    events.create(&mark, 0);
  }
  events.record(marks[0], nullptr);
  for (size_t i = 1; i < marks.size(); ++i) {
    enqueue();
    events.record(marks[i], nullptr);
  }
  events.synchronize(marks.back());
  std::vector<float> times;
  for (size_t i = 1; i < marks.size(); ++i) {
    float milliseconds = 0;
    events.elapsed(&milliseconds, marks[i - 1], marks[i]);
    times.push_back(milliseconds);
  }
  std::sort(times.begin(), times.end());
  return 1000.0 * static_cast<double>(times[times.size() / 2]);
}

}  // namespace regard::bench
