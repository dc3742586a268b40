#include "gpu/launch/loaded_kernel.h"

#include <mutex>
#include <vector>

namespace regard::gpu {
namespace {

struct Loaded {
  CudaContext context;
  CompileRequest request;
  CudaFunction function;
};

CudaFunction load(const CudaDriver& driver, const CompileRequest& request) {
  const CompiledKernel kernel = compile_cached(required_nvrtc(), user_cache(), request);
  CudaModule module = nullptr;
  CudaFunction function = nullptr;
  check(driver, driver.module_load_data(&module, kernel.cubin.data()), "cuModuleLoadData");
  check(driver, driver.module_get_function(&function, module, request.stem.c_str()),
        "cuModuleGetFunction");
  check(driver, driver.function_set_attribute(function, kMaxDynamicSharedBytes, request.smem_bytes),
        "cuFuncSetAttribute");
  return function;
}

}  // namespace

CudaFunction loaded_kernel(const CudaDriver& driver, const CompileRequest& request) {
  CudaContext context = nullptr;
  check(driver, driver.context_get_current(&context), "cuCtxGetCurrent");
  // Held during a compilation too: the second thread that asks for a kernel waits for the first.
  static std::mutex mutex;
  static std::vector<Loaded> kernels;  // a handful: found sooner by looking than by hashing
  const std::lock_guard<std::mutex> lock(mutex);
  for (const Loaded& loaded : kernels) {
    if (loaded.context == context && loaded.request == request) {
      return loaded.function;
    }
  }
  const CudaFunction function = load(driver, request);
  kernels.push_back({context, request, function});
  return function;
}

}  // namespace regard::gpu
