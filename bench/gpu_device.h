// The first GPU for a benchmark: memory, and the device's own time of what is enqueued.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "gpu/driver/cuda_driver.h"

namespace regard::bench {

class GpuDevice {
 public:
  // Throws Error where there is no GPU. Memory lives as long as the process.
  GpuDevice();

  const gpu::CudaDriver& driver() const { return *driver_; }
  int compute_capability() const { return compute_capability_; }

  void* allocate(size_t num_bytes) const;
  template <typename T>
  T* copy_of(const std::vector<T>& values) const {
    void* memory = allocate(values.size() * sizeof(T));
    copy(memory, values.data(), values.size() * sizeof(T));
    return static_cast<T*>(memory);
  }

  // Median time of one `enqueue()`, which works on the default stream, in microseconds: events
  // around each of `num_launches`, after a few to warm up.
  double microseconds(int num_launches, const std::function<void()>& enqueue) const;

 private:
  void copy(void* there, const void* here, size_t num_bytes) const;

  const gpu::CudaDriver* driver_ = nullptr;
  int compute_capability_ = 0;
};

}  // namespace regard::bench
