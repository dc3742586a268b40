// The GPU that LibTorch sees, without any header of CUDA: a build against a CPU LibTorch compiles
// the same text and finds no GPU.
#pragma once

#include <ATen/Dispatch.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace tune {

// Whether LibTorch was built for CUDA and finds a GPU; CUDA_VISIBLE_DEVICES="" hides all.
bool torch_has_gpu();

// The first GPU that is visible, else the CPU.
torch::Device default_device();

// Makes the engine's next calls of this thread follow LibTorch: work goes on LibTorch's current
// stream of `device`, memory comes from LibTorch's allocator, and its choice of deterministic
// algorithms holds. Nothing for a CPU.
void follow_torch(const torch::Device& device);

// Waits until all work enqueued on the GPU is done; nothing for a CPU.
void synchronize(const torch::Device& device);

// Host memory that a GPU reads too, where `device` is one; else plain memory.
torch::TensorOptions shared_memory_options(const torch::Device& device, torch::Dtype dtype);

// Values of main memory as a tensor [values.size()] of `dtype` on `device`; the copy to a GPU is
// enqueued and not waited for.
template <class Values>
torch::Tensor on_device(const Values& values, torch::Dtype dtype, const torch::Device& device) {
  const auto size = static_cast<int64_t>(values.size());
  const torch::Tensor host = torch::empty({size}, shared_memory_options(device, dtype));
  AT_DISPATCH_ALL_TYPES(host.scalar_type(), "on_device", [&] {
    std::copy(values.begin(), values.end(), host.data_ptr<scalar_t>());
  });
  return host.to(device, /*non_blocking=*/true);
}

// Call when kernels that read `pinned` are all enqueued: its memory is then not handed out again
// before they are done. Nothing for a CPU.
void keep_until_done(const torch::Tensor& pinned, const torch::Device& device);

// What the process holds of a device, in bytes. For a CPU, and where LibTorch (before 2.9) cannot
// say, all are 0.
struct DeviceMemory {
  int64_t allocated = 0;  // by tensors now
  int64_t peak = 0;       // largest `allocated` so far
  int64_t reserved = 0;   // taken from the device, tensors and the allocator's cache together
};
DeviceMemory device_memory(const torch::Device& device);

// Whether an error of LibTorch or of the engine says that the device's or the host's memory is
// used up.
bool is_out_of_memory(const std::exception& error);

}  // namespace tune
