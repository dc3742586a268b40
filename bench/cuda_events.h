// Events of the CUDA driver, which benchmarks alone have a use for.
#pragma once

#include <dlfcn.h>

#include "gpu/driver/cuda_driver.h"

namespace regard::bench {

struct Events {
  gpu::CudaResult (*create)(void** event, unsigned flags);
  gpu::CudaResult (*record)(void* event, gpu::CudaStream stream);
  gpu::CudaResult (*synchronize)(void* event);
  gpu::CudaResult (*elapsed)(float* milliseconds, void* begin, void* end);

  Events() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    load(library, "cuEventCreate", create);
    load(library, "cuEventRecord", record);
    load(library, "cuEventSynchronize", synchronize);
    load(library, "cuEventElapsedTime", elapsed);
  }
  template <typename F>
  static void load(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
  }
};

}  // namespace regard::bench
