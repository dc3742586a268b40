// The ordered list of back ends: fastest first, those that must be asked for by name last.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "regard/attention.h"

namespace regard::api {

struct BackendEntry {
  Backend backend;
  std::string_view name;
  bool is_automatic;  // may be taken when the user left the choice open
  std::string (*why_unsupported)(const Problem&);
  void (*forward)(const Problem&, const ForwardOutputs&);
  void (*backward)(const Problem&, const BackwardTensors&);  // nullptr = forward only
  uint32_t gradients;  // optional gradients that the backward writes: bits of core::Gradient
};

std::span<const BackendEntry> backends();

// Why `entry` cannot compute the forward (`tensors` null) or backward of `problem`; empty when it
// can.
std::string why_unsupported(const BackendEntry& entry, const Problem& problem,
                            const BackwardTensors* tensors);

// The same where the user left the choice open: the reasons of all automatic entries; empty when
// one of them can.
std::string why_none_serves(const Problem& problem, const BackwardTensors* tensors);

// The entry that computes the forward (`tensors` null) or backward of `problem`: the named one, or
// the first automatic one that can. Throws Error(unsupported) with the reasons where there is none.
const BackendEntry& choose_backend(Backend backend, const Problem& problem,
                                   const BackwardTensors* tensors);

}  // namespace regard::api
