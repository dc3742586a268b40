// What a run can fail with. The command line turns a UsageError into exit code 2 and everything
// else into 1.
#pragma once

#include <stdexcept>
#include <string>

namespace tune {

// Something went wrong outside the user's file: disk full, unreadable weights, a loss that is not a
// number.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The user's file, option or input cannot be used as it stands; the message says what to write
// instead.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace tune
