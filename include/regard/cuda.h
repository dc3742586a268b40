// What Backend::cuda needs beside the Problem. Views, slopes and document offsets of such a Problem
// lie in the memory of one GPU; offsets are also read by the host and lie in pinned or managed
// memory (cudaMallocHost, cudaMallocManaged).
#pragma once

#include <cstddef>

#include "regard/attention.h"
#include "regard/export.h"

namespace regard {

// The stream (cudaStream_t, CUstream) that this thread's calls enqueue their work on; null, the
// default, is the legacy default stream. Calls return before the work is done.
REGARD_API void set_cuda_stream(void* stream) noexcept;
REGARD_API void* cuda_stream() noexcept;

// Whether `pointer` lies in the memory of a GPU and the host cannot read it. False where there is
// no driver. Calls whose q lies so go to Backend::cuda.
REGARD_API bool is_cuda_memory(const void* pointer) noexcept;

// Where the memory that a call needs beside its operands (a backward's, or split keys') comes from.
// Both functions enqueue or order themselves on `stream` as cudaMallocAsync does: the memory is
// used by work on that stream only, and released when that work has been enqueued, not done.
// `allocate` returns 256-byte aligned memory of the current GPU, or null, which becomes
// Error(out_of_memory).
struct CudaAllocator {
  void* (*allocate)(size_t num_bytes, void* stream, void* user) = nullptr;
  void (*release)(void* memory, void* stream, void* user) = nullptr;
  void* user = nullptr;
};

// For this thread's calls; the default (null functions) is the driver's own cuMemAllocAsync.
REGARD_API void set_cuda_allocator(const CudaAllocator& allocator) noexcept;
REGARD_API CudaAllocator cuda_allocator() noexcept;

// Whether this thread's backwards give the same bits at every run: sums are then never in the order
// in which thread blocks happen to finish, which costs time. The default is false.
REGARD_API void set_cuda_deterministic(bool is_deterministic) noexcept;
REGARD_API bool cuda_deterministic() noexcept;

// Compiles into the disk cache what the forward, or for Pass::training forward and backward, of
// `problem` launches on GPUs of `compute_capability` (10 * major + minor: 75, 80, 86, ...). Needs
// NVRTC, no GPU; reads no operand: data of views may be null, which stands for aligned memory.
// Documents, sizes and strides as they will be. Throws Error(unsupported) with the reason.
REGARD_API void compile_cuda_kernels(const Problem& problem, Pass pass, int compute_capability);

}  // namespace regard
