// Kernels of the caller (regard/cuda_kernel.h).
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/compile.h"
#include "regard/cuda.h"
#include "regard/cuda_kernel.h"
#include "regard/error.h"

namespace regard {

using gpu::CudaContext;
using gpu::CudaDriver;
using gpu::CudaFunction;
using gpu::CudaModule;

struct CudaKernels::State {
  explicit State(std::string text) : source(std::move(text)) {}

  struct Loaded {
    CudaContext context;
    CudaModule module;
  };
  struct Function {
    CudaContext context;
    std::string name;
    CudaFunction function;
  };

  const std::string source;
  std::mutex mutex;
  std::vector<Loaded> modules;
  std::vector<Function> functions;  // a handful: found sooner by looking than by hashing

  CudaModule module_in(const CudaDriver& driver, CudaContext context);
  CudaFunction function_in(const CudaDriver& driver, CudaContext context, const char* name);
};

namespace {

CudaContext require_context(const CudaDriver& driver) {
  CudaContext context = nullptr;
  gpu::check(driver, driver.context_get_current(&context), "cuCtxGetCurrent");
  if (context == nullptr) {
    throw Error(ErrorCode::unsupported, "no CUDA context is current; make a GPU current first");
  }
  return context;
}

}  // namespace

CudaModule CudaKernels::State::module_in(const CudaDriver& driver, CudaContext context) {
  for (const Loaded& loaded : modules) {
    if (loaded.context == context) {
      return loaded.module;
    }
  }
  gpu::CudaDevice device = 0;
  gpu::check(driver, driver.context_get_device(&device), "cuCtxGetDevice");
  const gpu::CompiledKernel kernel = gpu::compile_text_cached(
      gpu::required_nvrtc(), gpu::user_cache(), source, gpu::compute_capability_of(driver, device));
  CudaModule module = nullptr;
  gpu::check(driver, driver.module_load_data(&module, kernel.cubin.data()), "cuModuleLoadData");
  modules.push_back({context, module});
  return module;
}

CudaFunction CudaKernels::State::function_in(const CudaDriver& driver, CudaContext context,
                                             const char* name) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (const Function& known : functions) {
    if (known.context == context && known.name == name) {
      return known.function;
    }
  }
  CudaFunction function = nullptr;
  gpu::check(driver, driver.module_get_function(&function, module_in(driver, context), name),
             (std::string("cuModuleGetFunction ") + name).c_str());
  functions.push_back({context, name, function});
  return function;
}

std::string why_no_cuda_kernels() {
  std::string reason;
  if (gpu::cuda_driver(reason) == nullptr || gpu::nvrtc(reason) == nullptr) {
    return reason;
  }
  return "";
}

CudaKernels::CudaKernels(std::string source) : state_(std::make_unique<State>(std::move(source))) {}

CudaKernels::~CudaKernels() = default;

void CudaKernels::launch(const char* name, const CudaGrid& grid, const void* params) const {
  if (grid.blocks_x < 1 || grid.blocks_y < 1) {
    return;
  }
  const CudaDriver& driver = gpu::required_cuda_driver();
  const CudaFunction function = state_->function_in(driver, require_context(driver), name);
  const gpu::CudaLaunchConfig config = {static_cast<unsigned>(grid.blocks_x),
                                        static_cast<unsigned>(grid.blocks_y),
                                        1,
                                        static_cast<unsigned>(grid.threads),
                                        1,
                                        1,
                                        0,
                                        cuda_stream(),
                                        nullptr,
                                        0};
  void* arguments[] = {const_cast<void*>(params)};  // the driver reads it
  gpu::check(driver, driver.launch_kernel(&config, function, arguments, nullptr),
             (std::string("cuLaunchKernelEx ") + name).c_str());
}

}  // namespace regard
