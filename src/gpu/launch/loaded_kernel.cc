#include "gpu/launch/loaded_kernel.h"

#include <mutex>
#include <vector>

#include "gpu/settings.h"
#include "regard/error.h"

namespace regard::gpu {
namespace {

struct Loaded {
  CudaContext context;
  CompileRequest request;
  CudaFunction function;
};

CudaFunction load(const CudaDriver& driver, const CompileRequest& request) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    throw Error(ErrorCode::unsupported, reason);
  }
  static const KernelCache cache(settings().cache_folder);
  const CompiledKernel kernel = compile_cached(*compiler, cache, request);
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
