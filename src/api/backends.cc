#include "api/backends.h"

#include <array>

#include "api/describe.h"
#include "core/features.h"
#include "cpu/cpu_attention.h"
#include "cpu/sage_attention.h"
#include "gpu/gpu_attention.h"
#include "reference/attention.h"
#include "regard/error.h"

namespace regard::api {
namespace {

constexpr uint32_t kServedByReference =
    core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
    core::bit(core::Feature::pages) | core::bit(core::Feature::block_mask) |
    core::bit(core::Feature::sink) | core::bit(core::Feature::score_program) |
    core::bit(core::Feature::mask_program) | core::bit(core::Feature::descale) |
    core::bit(core::Feature::f8) | core::bit(core::Feature::int8_scores) |
    core::bit(core::Feature::rounded_values);

std::string why_unsupported_by_reference(const Problem& problem) {
  if (const char* feature = core::first_unserved(problem, kServedByReference)) {
    return std::string(feature) + ": the reference does not serve it";
  }
  return "";
}

constexpr uint32_t kNoGradients = 0;
constexpr uint32_t kScoreTermGradients = core::bit(core::Gradient::bias) |
                                         core::bit(core::Gradient::slopes) |
                                         core::bit(core::Gradient::sink);

constexpr std::array kBackends = {
    BackendEntry{Backend::cpu_decode, "cpu_decode", true, cpu::why_unsupported_decode,
                 cpu::forward_decode, nullptr, kNoGradients},
    BackendEntry{Backend::cpu_tiled, "cpu_tiled", true, cpu::why_unsupported_tiled,
                 cpu::forward_tiled, cpu::backward_tiled, core::kAllGradients},
    BackendEntry{Backend::cpu_sage, "cpu_sage", true, cpu::why_unsupported_sage, cpu::forward_sage,
                 cpu::backward_sage, kNoGradients},
    // Not automatic: whoever asks for materialised scores, or for the slow specification, asks for
    // them by name.
    BackendEntry{Backend::cpu_eager, "cpu_eager", false, cpu::why_unsupported_eager,
                 cpu::forward_eager, cpu::backward_eager, kScoreTermGradients},
    // Not automatic: device memory is the caller's, and nobody else could read it.
    BackendEntry{Backend::cuda, "cuda", false, gpu::why_unsupported_cuda, gpu::forward_cuda,
                 gpu::backward_cuda, core::kAllGradients},
    BackendEntry{Backend::reference, "reference", false, why_unsupported_by_reference,
                 reference::forward, reference::backward, core::kAllGradients},
};

const BackendEntry& find_backend(Backend backend) {
  for (const BackendEntry& entry : kBackends) {
    if (entry.backend == backend) {
      return entry;
    }
  }
  throw Error(ErrorCode::invalid_argument,
              "backend " + std::to_string(static_cast<int>(backend)) + " is not in the list");
}

}  // namespace

std::span<const BackendEntry> backends() { return kBackends; }

std::string why_unsupported(const BackendEntry& entry, const Problem& problem,
                            const BackwardTensors* tensors) {
  if (tensors != nullptr && entry.backward == nullptr) {
    return "has a forward only; name cpu_tiled, or none";
  }
  if (tensors != nullptr) {
    if (const char* gradient = core::first_unserved(*tensors, entry.gradients)) {
      return std::string(gradient) + ": this back end does not compute it; leave it null";
    }
  }
  return entry.why_unsupported(problem);
}

std::string why_none_serves(const Problem& problem, const BackwardTensors* tensors) {
  std::string reasons;
  for (const BackendEntry& entry : kBackends) {
    if (!entry.is_automatic) {
      continue;
    }
    const std::string reason = why_unsupported(entry, problem, tensors);
    if (reason.empty()) {
      return "";
    }
    reasons += "; " + std::string(entry.name) + ": " + reason;
  }
  return "no back end serves this problem" + reasons +
         "; the reference, which is slow, must be asked for by name";
}

const BackendEntry& choose_backend(Backend backend, const Problem& problem,
                                   const BackwardTensors* tensors) {
  const auto refusal = [&problem](const std::string& reason) {
    return Error(ErrorCode::unsupported, reason + " [" + describe(problem) + "]");
  };
  if (backend != Backend::automatic) {
    const BackendEntry& entry = find_backend(backend);
    if (const std::string reason = why_unsupported(entry, problem, tensors); !reason.empty()) {
      throw refusal(std::string(entry.name) + ": " + reason);
    }
    return entry;
  }
  for (const BackendEntry& entry : kBackends) {
    if (entry.is_automatic && why_unsupported(entry, problem, tensors).empty()) {
      return entry;
    }
  }
  throw refusal(why_none_serves(problem, tensors));
}

}  // namespace regard::api
