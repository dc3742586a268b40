// A folder for a test, and errors as text.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/support/temp_folder.h"
#include "tune/error.h"

namespace tune_test {

using test_support::TempFolder;

// The message of the tune::Error that `call` throws; a test failure when it throws none.
template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const tune::Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

// As error_of, and the error must be the user's (exit code 2).
template <typename Call>
std::string usage_error_of(Call call) {
  try {
    call();
  } catch (const tune::UsageError& error) {
    return error.what();
  } catch (const tune::Error& error) {
    ADD_FAILURE() << "not a UsageError: " << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline std::string data_path(std::string_view name) {
  return std::string(REGARD_TEST_DATA) + "/" + std::string(name);
}

}  // namespace tune_test
