#include "gpu/kernel_list.h"

#include <array>

#include "gpu/launch/attn_bwd_mma.h"
#include "gpu/launch/attn_decode_mma.h"
#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/launch/attn_fwd_simt.h"
#include "gpu/launch/sage_fwd_mma.h"
#include "gpu/plan/attn_bwd_simt.h"
#include "gpu/plan/attn_fwd_simt.h"
#include "regard/cuda.h"

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

void forward_simt(const Gpu& gpu, const Problem& problem, const ForwardOutputs& outputs) {
  launch_attn_fwd_simt(*gpu.driver, plan_attn_fwd_simt(problem, outputs, gpu.compute_capability),
                       gpu.compute_capability, gpu.stream);
}

void forward_sage_mma(const Gpu& gpu, const Problem& problem, const ForwardOutputs& outputs) {
  launch_sage_fwd_mma(*gpu.driver, plan_sage_fwd_mma(problem, outputs, gpu.compute_capability),
                      gpu.compute_capability, gpu.stream);
}

void backward_mma(const Gpu& gpu, const Problem& problem, const BackwardTensors& tensors) {
  launch_attn_bwd_mma(
      *gpu.driver,
      plan_attn_bwd_mma(problem, tensors, gpu.compute_capability, cuda_deterministic()),
      gpu.compute_capability, gpu.stream);
}

void backward_simt(const Gpu& gpu, const Problem& problem, const BackwardTensors& tensors) {
  launch_attn_bwd_mma(*gpu.driver, plan_attn_bwd_simt(problem, tensors, gpu.compute_capability),
                      gpu.compute_capability, gpu.stream);
}

constexpr std::array kForwardKernels = {
    ForwardKernel{"attn_decode_mma", why_unsupported_attn_decode_mma, forward_decode_mma},
    ForwardKernel{"attn_fwd_mma", why_unsupported_attn_fwd_mma, forward_mma},
    ForwardKernel{"sage_fwd_mma", why_unsupported_sage_fwd_mma, forward_sage_mma},
    ForwardKernel{"attn_fwd_simt", why_unsupported_attn_fwd_simt, forward_simt},
};

constexpr std::array kBackwardKernels = {
    BackwardKernel{"attn_bwd_mma", why_unsupported_attn_bwd_mma, backward_mma},
    BackwardKernel{"attn_bwd_simt", why_unsupported_attn_bwd_simt, backward_simt},
};

// The first of `kernels` whose `why_unsupported` is empty; null with the reasons of all.
template <typename Kernels, typename WhyUnsupported>
auto* first_serving(const Kernels& kernels, std::string& reasons,
                    const WhyUnsupported& why_unsupported) {
  reasons.clear();
  for (const auto& kernel : kernels) {
    const std::string reason = why_unsupported(kernel);
    if (reason.empty()) {
      return &kernel;
    }
    reasons += (reasons.empty() ? "" : "; ") + std::string(kernel.stem) + ": " + reason;
  }
  return static_cast<decltype(kernels.data())>(nullptr);
}

}  // namespace

const ForwardKernel* choose_forward(const Problem& problem, int compute_capability,
                                    std::string& reasons) {
  return first_serving(kForwardKernels, reasons, [&](const ForwardKernel& kernel) {
    return kernel.why_unsupported(problem, compute_capability);
  });
}

const BackwardKernel* choose_backward(const Problem& problem, const BackwardTensors& tensors,
                                      int compute_capability, std::string& reasons) {
  return first_serving(kBackwardKernels, reasons, [&](const BackwardKernel& kernel) {
    return kernel.why_unsupported(problem, tensors, compute_capability);
  });
}

}  // namespace regard::gpu
