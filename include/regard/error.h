// The one exception type of the library, and the codes it carries.
#pragma once

#include <stdexcept>
#include <string>

#include "regard/export.h"

namespace regard {

enum class ErrorCode : int {
  invalid_argument = 1,  // the caller's problem contradicts itself (shapes, strides, null pointers)
  unsupported = 2,       // a valid problem that the named back end cannot serve here
  out_of_memory = 3,     // scratch memory could not be had
  internal = 4,          // an invariant of the library broke; please report it
};

// Thrown by the public functions only; nothing of the library prints, aborts or exits.
class REGARD_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace regard
