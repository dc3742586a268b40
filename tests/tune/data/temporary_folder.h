// A folder for a test, and errors as text.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_folder.h"

namespace tune {

struct TemporaryFolder : test_support::TempFolder {
  using TempFolder::path;
  std::string path(const std::string& name) const { return *this / name; }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

// The message of the exception `run` throws; the test fails when it throws none.
template <typename Exception, typename Run>
std::string message_of(const Run& run) {
  try {
    run();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace tune
