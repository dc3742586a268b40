// Where the memory of a call lies.
#pragma once

#include <span>
#include <string>

#include "gpu/driver/cuda_driver.h"
#include "regard/problem.h"

namespace regard::gpu {

struct NamedPointer {
  const char* name;
  const void* data;
};

inline constexpr int kNoDevice = -1;

// Ordinal of the GPU that can read `pointer`; kNoDevice for memory that the driver does not know.
int device_of(const CudaDriver& driver, const void* pointer);

// Whether the host can: false for device memory that is not managed.
bool is_host_readable(const CudaDriver& driver, const void* pointer);

// Why the pointers do not all lie where GPU `device` reads them; null ones are not looked at.
std::string why_unreadable(const CudaDriver& driver, int device,
                           std::span<const NamedPointer> pointers);

// Why the host cannot read the offsets, lengths, page tables and block lists of `problem`, which
// validation reads; empty where it can.
std::string why_host_cannot_read(const Problem& problem);

// Whether the host can read all tensors of the programs. Where it cannot, validation leaves
// programs to the kernels, which move every index inside its axis.
bool host_reads_program_tensors(const Problem& problem);

}  // namespace regard::gpu
