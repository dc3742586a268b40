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
  void (*backward)(const Problem&, const BackwardTensors&);
};

std::span<const BackendEntry> backends();

// The entry that computes `problem`: the named one, or the first automatic one that can. Throws
// Error(unsupported) with the reason where there is none.
const BackendEntry& choose_backend(Backend backend, const Problem& problem);

}  // namespace regard::api
