// Compilation ahead of time: planners and launchers run as for a call, over a driver whose every
// function succeeds and does nothing, so that what they ask for is compiled and cached, no GPU
// needed, and no second list of what a problem needs exists.
#include <bit>
#include <cstdint>

#include "gpu/jit/nvrtc.h"
#include "gpu/kernel_list.h"
#include "regard/cuda.h"
#include "regard/error.h"

namespace regard {
namespace gpu {
namespace {

// Stands for contexts, modules, functions and memory alike: never looked into.
constexpr CudaPointer kSomewhere = 4096;
void* somewhere() { return std::bit_cast<void*>(kSomewhere); }

template <typename... Arguments>
void ignore(CudaResult (*&function)(Arguments...)) {
  function = [](Arguments...) -> CudaResult { return 0; };
}

CudaDriver driver_that_does_nothing() {
  CudaDriver driver{};
  ignore(driver.function_set_attribute);
  ignore(driver.launch_kernel);
  ignore(driver.memory_free_async);
  ignore(driver.module_load_data);
  driver.context_get_current = [](CudaContext* context) -> CudaResult {
    *context = somewhere();
    return 0;
  };
  driver.module_get_function = [](CudaFunction* function, CudaModule, const char*) -> CudaResult {
    *function = somewhere();
    return 0;
  };
  driver.memory_allocate_async = [](CudaPointer* pointer, size_t, CudaStream) -> CudaResult {
    *pointer = kSomewhere;
    return 0;
  };
  driver.get_error_string = [](CudaResult, const char** text) -> CudaResult {
    *text = "";
    return 0;
  };
  return driver;
}

// Where a view of the problem has no memory yet.
void place(View& view) {
  if (view.data == nullptr) {
    view.data = somewhere();
  }
}

}  // namespace
}  // namespace gpu

void compile_cuda_kernels(const Problem& problem, Pass pass, int compute_capability) {
  (void)gpu::required_nvrtc();  // before anything is planned
  std::string reason;
  static const gpu::CudaDriver driver = gpu::driver_that_does_nothing();
  // Enough multiprocessors that decoding cuts its keys: the merging kernel is compiled too.
  const gpu::Gpu gpu{.driver = &driver,
                     .compute_capability = compute_capability,
                     .num_multiprocessors = 128,
                     .stream = nullptr};
  // Nobody's memory is asked for.
  struct OwnAllocator {
    OwnAllocator() : callers(cuda_allocator()) { set_cuda_allocator({}); }
    ~OwnAllocator() { set_cuda_allocator(callers); }
    CudaAllocator callers;
  } const allocator;
  Problem placed = problem;
  gpu::place(placed.q);
  gpu::place(placed.k);
  gpu::place(placed.v);
  View o = placed.q;
  o.dim = placed.v.dim;
  const LseView lse{static_cast<float*>(gpu::somewhere()), placed.q.heads * placed.q.seq,
                    placed.q.seq};
  const gpu::ForwardKernel* forward = gpu::choose_forward(placed, compute_capability, reason);
  if (forward == nullptr) {
    throw Error(ErrorCode::unsupported, reason);
  }
  forward->launch(gpu, placed, {.o = o, .lse = lse});
  if (pass == Pass::inference) {
    return;
  }
  const BackwardTensors tensors{.o = o,
                                .lse = lse,
                                .d_o = o,
                                .d_lse = {},
                                .dq = placed.q,
                                .dk = placed.k,
                                .dv = placed.v,
                                .d_bias = {},
                                .d_slopes = nullptr,
                                .d_sink = nullptr,
                                .d_tensors = nullptr};
  const gpu::BackwardKernel* backward =
      gpu::choose_backward(placed, tensors, compute_capability, reason);
  if (backward == nullptr) {
    throw Error(ErrorCode::unsupported, reason);
  }
  backward->launch(gpu, placed, tensors);
}

}  // namespace regard
