// Kernels of the caller, compiled and kept as the engine's own are: by NVRTC, found at run time, at
// the first launch; on disk for later processes (REGARD_CACHE_DIR). Nothing of CUDA is needed to
// build.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "regard/export.h"

namespace regard {

// Blocks and threads of a launch. No block: nothing is launched.
struct CudaGrid {
  int64_t blocks_x = 1, blocks_y = 1;
  int threads = 32;
};

// Why no kernel can be compiled and run here (no driver, no GPU, no NVRTC), in a sentence; empty
// when one can.
REGARD_API std::string why_no_cuda_kernels();

// A text with any number of kernels. Thread-safe.
class REGARD_API CudaKernels {
 public:
  // CUDA C++20 without CUDA headers; `#include "platform.cuh"` gives the engine's primitives
  // (docs/kernels/platform.md). Every kernel is `extern "C" __global__` and takes one struct by
  // value. Compiles nothing yet.
  explicit CudaKernels(std::string source);
  ~CudaKernels();
  CudaKernels(const CudaKernels&) = delete;
  CudaKernels& operator=(const CudaKernels&) = delete;

  // Enqueues the kernel `name` on cuda_stream() (regard/cuda.h) of the current CUDA context and
  // returns before it has run; `params` is the struct, which is copied. The first launch on a GPU
  // compiles the text or reads it from disk. Throws Error(unsupported) without driver, NVRTC or
  // current context, Error(internal) with the compiler's log or the driver's words.
  void launch(const char* name, const CudaGrid& grid, const void* params) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace regard
