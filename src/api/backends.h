// The ordered list of back ends: fastest first, the reference last.
#pragma once

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
};

std::span<const BackendEntry> backends();

enum class Pass : uint8_t { forward, backward };

// The entry that computes `pass` of `problem`: the named one, or the first automatic one that can.
// Throws Error(unsupported) with the reason where there is none.
const BackendEntry& choose_backend(Backend backend, Pass pass, const Problem& problem);

}  // namespace regard::api
