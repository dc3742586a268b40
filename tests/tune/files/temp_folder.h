// A folder that lives as long as a test, and errors as text.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tune/error.h"

namespace tune_test {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "regard-files-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Writes a file of any bytes, its folders too; gives its path.
  std::string file(std::string_view name, std::string_view content) const {
    const std::string path = *this / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

 private:
  std::string path_;
};

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
