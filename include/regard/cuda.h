// What Backend::cuda needs beside the Problem. Views, slopes and document offsets of such a Problem
// lie in the memory of one GPU; offsets are also read by the host and lie in pinned or managed
// memory (cudaMallocHost, cudaMallocManaged).
#pragma once

#include "regard/export.h"

namespace regard {

// The stream (cudaStream_t, CUstream) that this thread's calls enqueue their work on; null, the
// default, is the legacy default stream. Calls return before the work is done.
REGARD_API void set_cuda_stream(void* stream) noexcept;
REGARD_API void* cuda_stream() noexcept;

}  // namespace regard
