#include "gpu/gpu_attention.h"

#include <array>

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/nvrtc.h"
#include "gpu/kernel_list.h"
#include "gpu/pointers.h"
#include "regard/cuda.h"
#include "regard/error.h"

namespace regard {
namespace {

thread_local void* chosen_stream = nullptr;
thread_local CudaAllocator chosen_allocator;
thread_local bool chosen_determinism = false;

}  // namespace

void set_cuda_stream(void* stream) noexcept { chosen_stream = stream; }
void* cuda_stream() noexcept { return chosen_stream; }
void set_cuda_allocator(const CudaAllocator& allocator) noexcept { chosen_allocator = allocator; }
CudaAllocator cuda_allocator() noexcept { return chosen_allocator; }
void set_cuda_deterministic(bool is_deterministic) noexcept {
  chosen_determinism = is_deterministic;
}
bool cuda_deterministic() noexcept { return chosen_determinism; }

namespace gpu {
namespace {

void make_context_current(const CudaDriver& driver, int ordinal) {
  CudaDevice device = 0, current_device = 0;
  check(driver, driver.device_get(&device, ordinal), "cuDeviceGet");
  CudaContext context = nullptr;
  check(driver, driver.context_get_current(&context), "cuCtxGetCurrent");
  if (context == nullptr) {
    check(driver, driver.primary_context_retain(&context, device), "cuDevicePrimaryCtxRetain");
    check(driver, driver.context_set_current(context), "cuCtxSetCurrent");
    return;
  }
  check(driver, driver.context_get_device(&current_device), "cuCtxGetDevice");
  if (current_device != device) {
    throw Error(ErrorCode::invalid_argument,
                "q lies on GPU " + std::to_string(ordinal) +
                    " and the current context on another one; make that GPU current");
  }
}

// The driver and the GPU whose memory q is, its context current on this thread.
Gpu gpu_of(const CudaDriver& driver, int ordinal) {
  make_context_current(driver, ordinal);
  CudaDevice device = 0;
  check(driver, driver.device_get(&device, ordinal), "cuDeviceGet");
  return {.driver = &driver,
          .compute_capability = compute_capability_of(driver, device),
          .num_multiprocessors = num_multiprocessors_of(driver, device),
          .stream = cuda_stream()};
}

}  // namespace

std::string why_unsupported_cuda(const Problem& problem) {
  std::string reason;
  const CudaDriver* driver = cuda_driver(reason);
  if (driver == nullptr || nvrtc(reason) == nullptr) {
    return reason;
  }
  const int ordinal = device_of(*driver, problem.q.data);
  CudaDevice device = 0;
  if (ordinal == kNoDevice || driver->device_get(&device, ordinal) != 0) {
    return "q does not lie in a GPU's memory; copy the operands there, or name a CPU back end";
  }
  if (choose_forward(problem, compute_capability_of(*driver, device), reason) == nullptr) {
    return reason;
  }
  const std::array<NamedPointer, 10> pointers = {{
      {"k", problem.k.data},
      {"v", problem.v.data},
      {"mask", problem.mask.data},
      {"bias", problem.bias.data},
      {"alibi.slopes", problem.alibi.slopes},
      {"sink.logits", problem.sink.logits},
      {"documents.q_offsets", problem.documents.q_offsets},
      {"documents.k_offsets", problem.documents.k_offsets},
      {"pages.table", problem.pages.table},
      {"block_mask.row_offsets", problem.block_mask.row_offsets},
  }};
  return why_unreadable(*driver, ordinal, pointers);
}

void forward_cuda(const Problem& problem, const ForwardOutputs& outputs) {
  const CudaDriver& driver = required_cuda_driver();
  const int ordinal = device_of(driver, problem.q.data);
  const std::array<NamedPointer, 2> results = {{{"o", outputs.o.data}, {"lse", outputs.lse.data}}};
  std::string reason = why_unreadable(driver, ordinal, results);
  if (!reason.empty()) {
    throw Error(ErrorCode::invalid_argument, reason);
  }
  const Gpu gpu = gpu_of(driver, ordinal);
  if (const ForwardKernel* kernel = choose_forward(problem, gpu.compute_capability, reason)) {
    kernel->launch(gpu, problem, outputs);
    return;
  }
  throw Error(ErrorCode::unsupported, reason);
}

void backward_cuda(const Problem& problem, const BackwardTensors& tensors) {
  const CudaDriver& driver = required_cuda_driver();
  const int ordinal = device_of(driver, problem.q.data);
  const std::array<NamedPointer, 10> pointers = {{{"o", tensors.o.data},
                                                  {"lse", tensors.lse.data},
                                                  {"d_o", tensors.d_o.data},
                                                  {"d_lse", tensors.d_lse.data},
                                                  {"dq", tensors.dq.data},
                                                  {"dk", tensors.dk.data},
                                                  {"dv", tensors.dv.data},
                                                  {"d_bias", tensors.d_bias.data},
                                                  {"d_slopes", tensors.d_slopes},
                                                  {"d_sink", tensors.d_sink}}};
  std::string reason = why_unreadable(driver, ordinal, pointers);
  if (!reason.empty()) {
    throw Error(ErrorCode::invalid_argument, reason);
  }
  const Gpu gpu = gpu_of(driver, ordinal);
  if (const BackwardKernel* kernel =
          choose_backward(problem, tensors, gpu.compute_capability, reason)) {
    kernel->launch(gpu, problem, tensors);
    return;
  }
  throw Error(ErrorCode::unsupported, "cuda: " + reason);
}

}  // namespace gpu
}  // namespace regard
