#include "api/backends.h"

#include <array>

#include "api/describe.h"
#include "core/features.h"
#include "cpu/cpu_attention.h"
#include "cpu/sage_attention.h"
#include "reference/attention.h"
#include "regard/error.h"

namespace regard::api {
namespace {

constexpr uint32_t kServedByReference =
    core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
    core::bit(core::Feature::pages) | core::bit(core::Feature::block_mask) |
    core::bit(core::Feature::sink) | core::bit(core::Feature::descale) |
    core::bit(core::Feature::f8) | core::bit(core::Feature::int8_scores) |
    core::bit(core::Feature::rounded_values);

std::string why_unsupported_by_reference(const Problem& problem) {
  if (const char* feature = core::first_unserved(problem, kServedByReference)) {
    return std::string(feature) + ": the reference does not serve it";
  }
  if (problem.quantization.int8_backward) {
    return "an int8 backward: the reference does not serve it";
  }
  return "";
}

constexpr std::array kBackends = {
    BackendEntry{Backend::cpu_decode, "cpu_decode", true, cpu::why_unsupported_decode,
                 cpu::forward_decode, nullptr},
    BackendEntry{Backend::cpu_tiled, "cpu_tiled", true, cpu::why_unsupported_tiled,
                 cpu::forward_tiled, cpu::backward_tiled},
    BackendEntry{Backend::cpu_sage, "cpu_sage", true, cpu::why_unsupported_sage, cpu::forward_sage,
                 cpu::backward_sage},
    // Not automatic: whoever asks for materialised scores asks for them by name.
    BackendEntry{Backend::cpu_eager, "cpu_eager", false, cpu::why_unsupported_eager,
                 cpu::forward_eager, cpu::backward_eager},
    BackendEntry{Backend::reference, "reference", true, why_unsupported_by_reference,
                 reference::forward, reference::backward},
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

// Empty when the entry can compute this pass of the problem.
std::string why_unsupported(const BackendEntry& entry, Pass pass, const Problem& problem) {
  if (pass == Pass::backward && entry.backward == nullptr) {
    return "has a forward only; name cpu_tiled, or none";
  }
  return entry.why_unsupported(problem);
}

}  // namespace

std::span<const BackendEntry> backends() { return kBackends; }

const BackendEntry& choose_backend(Backend backend, Pass pass, const Problem& problem) {
  if (backend != Backend::automatic) {
    const BackendEntry& entry = find_backend(backend);
    if (const std::string reason = why_unsupported(entry, pass, problem); !reason.empty()) {
      throw Error(ErrorCode::unsupported,
                  std::string(entry.name) + ": " + reason + " [" + describe(problem) + "]");
    }
    return entry;
  }
  for (const BackendEntry& entry : kBackends) {
    if (entry.is_automatic && why_unsupported(entry, pass, problem).empty()) {
      return entry;
    }
  }
  return find_backend(Backend::reference);
}

}  // namespace regard::api
