#include "tune/model/device.h"

#include <ATen/Context.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <new>

#include "regard/cuda.h"
#include "regard/error.h"

// c10::getDeviceAllocator came with 2.9.
#define TUNE_TORCH_COUNTS_MEMORY \
  (TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9))
#if TUNE_TORCH_COUNTS_MEMORY
#include <c10/core/CachingDeviceAllocator.h>
#endif

namespace tune {
namespace {

void* allocate(size_t num_bytes, void* /*stream*/, void* /*user*/) {
  try {
    return c10::GetAllocator(c10::DeviceType::CUDA)->raw_allocate(num_bytes);
  } catch (const c10::Error&) {
    return nullptr;  // the engine says how much it wanted
  }
}

void release(void* memory, void* /*stream*/, void* /*user*/) {
  c10::GetAllocator(c10::DeviceType::CUDA)->raw_deallocate(memory);
}

// LibTorch's current stream as a cudaStream_t. Stream 0 is CUDA's default stream; for any other
// LibTorch (2.2 or newer) exports a C function.
void* current_stream(const torch::Device& device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  if (guard.getStream(device).id() == 0) return nullptr;
  using GetStream = int32_t (*)(int32_t device_index, void** stream);
  static const auto get_stream =
      reinterpret_cast<GetStream>(dlsym(RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream"));
  void* stream = nullptr;
  const auto index = static_cast<int32_t>(device.index());
  if (get_stream == nullptr || get_stream(index, &stream) != 0) {
    throw regard::Error(regard::ErrorCode::unsupported,
                        "this LibTorch does not tell its current CUDA stream; leave the default "
                        "stream current, or use LibTorch 2.2 or newer");
  }
  return stream;
}

}  // namespace

bool torch_has_gpu() { return torch::cuda::is_available(); }

torch::Device default_device() {
  return torch_has_gpu() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
}

void follow_torch(const torch::Device& device) {
  if (!device.is_cuda()) return;
  regard::set_cuda_stream(current_stream(device));
  regard::set_cuda_allocator({allocate, release, nullptr});
  regard::set_cuda_deterministic(at::globalContext().deterministicAlgorithms());
}

void synchronize(const torch::Device& device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

torch::TensorOptions shared_memory_options(const torch::Device& device, torch::Dtype dtype) {
  return torch::TensorOptions().dtype(dtype).pinned_memory(device.is_cuda());
}

void keep_until_done(const torch::Tensor& pinned, const torch::Device& device) {
  // LibTorch's host allocator waits for copies out of its memory; this one stands behind all work.
  if (device.is_cuda() && pinned.defined()) pinned.to(device, /*non_blocking=*/true);
}

DeviceMemory device_memory([[maybe_unused]] const torch::Device& device) {
  DeviceMemory memory;
#if TUNE_TORCH_COUNTS_MEMORY
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    memory.allocated = stats.allocated_bytes[0].current;  // [0] counts both pools
    memory.peak = stats.allocated_bytes[0].peak;
    memory.reserved = stats.reserved_bytes[0].current;
  }
#endif
  return memory;
}

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (const auto* engine = dynamic_cast<const regard::Error*>(&error)) {
    return engine->code() == regard::ErrorCode::out_of_memory;
  }
  // LibTorch 1.13 has no type for it: "DefaultCPUAllocator: can't allocate memory", "CUDA out of
  // memory".
  const std::string text = error.what();
  return text.find("allocate memory") != std::string::npos ||
         text.find("out of memory") != std::string::npos;
}

}  // namespace tune
