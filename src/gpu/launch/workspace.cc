#include "gpu/launch/workspace.h"

#include <bit>
#include <string>

#include "regard/error.h"

namespace regard::gpu {

Workspace::Workspace(const CudaDriver& driver, size_t num_bytes, CudaStream stream)
    : driver_(driver), stream_(stream), allocator_(cuda_allocator()) {
  if (num_bytes == 0) {
    return;
  }
  if (allocator_.allocate != nullptr) {
    data_ = allocator_.allocate(num_bytes, stream, allocator_.user);
  } else {
    CudaPointer pointer = 0;
    if (driver.memory_allocate_async(&pointer, num_bytes, stream) == 0) {
      data_ = std::bit_cast<void*>(pointer);
    }
  }
  if (data_ == nullptr) {
    throw Error(ErrorCode::out_of_memory,
                "no " + std::to_string(num_bytes) + " bytes of GPU memory for an attention call");
  }
}

Workspace::~Workspace() {
  if (data_ == nullptr) {
    return;
  }
  if (allocator_.allocate != nullptr) {
    allocator_.release(data_, stream_, allocator_.user);
  } else {
    driver_.memory_free_async(static_cast<CudaPointer>(reinterpret_cast<uintptr_t>(data_)),
                              stream_);
  }
}

}  // namespace regard::gpu
