#include "gpu/pointers.h"

#include <array>

#include "regard/cuda.h"

namespace regard {
namespace gpu {
namespace {

CudaPointer address_of(const void* pointer) {
  return static_cast<CudaPointer>(reinterpret_cast<uintptr_t>(pointer));
}

}  // namespace

int device_of(const CudaDriver& driver, const void* pointer) {
  int ordinal = kNoDevice;
  const bool is_known =
      driver.pointer_get_attribute(&ordinal, kPointerDeviceOrdinal, address_of(pointer)) == 0;
  return is_known ? ordinal : kNoDevice;
}

bool is_host_readable(const CudaDriver& driver, const void* pointer) {
  unsigned memory_type = 0;
  if (driver.pointer_get_attribute(&memory_type, kPointerMemoryType, address_of(pointer)) != 0 ||
      memory_type != kDeviceMemory) {
    return true;
  }
  int is_managed = 0;
  return driver.pointer_get_attribute(&is_managed, kPointerIsManaged, address_of(pointer)) == 0 &&
         is_managed != 0;
}

std::string why_unreadable(const CudaDriver& driver, int device,
                           std::span<const NamedPointer> pointers) {
  for (const auto& [name, data] : pointers) {
    if (data != nullptr && device_of(driver, data) != device) {
      return std::string(name) + " does not lie in the memory of GPU " + std::to_string(device) +
             ", where q is; copy it there";
    }
  }
  return "";
}

std::string why_host_cannot_read(const Problem& problem) {
  std::string reason;
  const CudaDriver* driver = cuda_driver(reason);
  if (driver == nullptr) {
    return "";  // then nothing lies on a GPU
  }
  const std::array<NamedPointer, 10> pointers = {{
      {"documents.q_offsets", problem.documents.q_offsets},
      {"documents.k_offsets", problem.documents.k_offsets},
      {"documents.q_lengths", problem.documents.q_lengths},
      {"documents.k_lengths", problem.documents.k_lengths},
      {"pages.table", problem.pages.table},
      {"pages.lengths", problem.pages.lengths},
      {"pages.starts", problem.pages.starts},
      {"block_mask.row_offsets", problem.block_mask.row_offsets},
      {"block_mask.columns", problem.block_mask.columns},
      {"block_mask.is_full", problem.block_mask.is_full},
  }};
  for (const auto& [name, data] : pointers) {
    if (data != nullptr && !is_host_readable(*driver, data)) {
      return std::string(name) +
             " lies in GPU memory that the host cannot read, and it is validated; allocate it with "
             "cudaMallocHost or cudaMallocManaged";
    }
  }
  return "";
}

bool host_reads_program_tensors(const Problem& problem) {
  std::string reason;
  const CudaDriver* driver = cuda_driver(reason);
  for (const BoundProgram* bound : {&problem.score_program, &problem.mask_program}) {
    for (int i = 0; driver != nullptr && bound->tensors != nullptr && i < bound->num_tensors; ++i) {
      if (!is_host_readable(*driver, bound->tensors[i].data)) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace gpu

bool is_cuda_memory(const void* pointer) noexcept {
  std::string reason;
  const gpu::CudaDriver* driver = gpu::cuda_driver(reason);
  return driver != nullptr && !gpu::is_host_readable(*driver, pointer);
}

}  // namespace regard
