#include "gpu/kernel_list.h"

#include <array>

#include "gpu/launch/attn_decode_mma.h"
#include "gpu/launch/attn_fwd_mma.h"

namespace regard::gpu {
namespace {

void forward_decode_mma(const Gpu& gpu, const Problem& problem, const ForwardOutputs& outputs) {
  launch_attn_decode_mma(
      *gpu.driver,
      plan_attn_decode_mma(problem, outputs, gpu.compute_capability, gpu.num_multiprocessors),
      gpu.compute_capability, gpu.stream);
}

void forward_mma(const Gpu& gpu, const Problem& problem, const ForwardOutputs& outputs) {
  launch_attn_fwd_mma(*gpu.driver, plan_attn_fwd_mma(problem, outputs, gpu.compute_capability),
                      gpu.compute_capability, gpu.stream);
}

constexpr std::array kForwardKernels = {
    ForwardKernel{"attn_decode_mma", why_unsupported_attn_decode_mma, forward_decode_mma},
    ForwardKernel{"attn_fwd_mma", why_unsupported_attn_fwd_mma, forward_mma},
};

}  // namespace

std::span<const ForwardKernel> forward_kernels() { return kForwardKernels; }

const ForwardKernel* choose_forward(const Problem& problem, int compute_capability,
                                    std::string& reasons) {
  reasons.clear();
  for (const ForwardKernel& kernel : kForwardKernels) {
    const std::string reason = kernel.why_unsupported(problem, compute_capability);
    if (reason.empty()) {
      return &kernel;
    }
    reasons += (reasons.empty() ? "" : "; ") + std::string(kernel.stem) + ": " + reason;
  }
  return nullptr;
}

}  // namespace regard::gpu
