// Device memory that one call needs beside its operands.
#pragma once

#include <cstddef>

#include "gpu/driver/cuda_driver.h"
#include "regard/cuda.h"

namespace regard::gpu {

// Allocated on `stream` by the thread's allocator (regard/cuda.h), and given back on it, so that
// work enqueued in between may use it. Throws Error(out_of_memory) with the size.
class Workspace {
 public:
  Workspace(const CudaDriver& driver, size_t num_bytes, CudaStream stream);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // Null for no bytes; else 256-byte aligned.
  void* data() const { return data_; }

 private:
  const CudaDriver& driver_;
  CudaStream stream_;
  CudaAllocator allocator_;
  void* data_ = nullptr;
};

}  // namespace regard::gpu
