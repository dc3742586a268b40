// Files of the tokenizer tests: the committed data, and folders that vanish with the test.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_folder.h"

namespace tune::test {

inline std::string data_path(const std::string& name) {
  return std::string(REGARD_TEST_DATA) + "/tokenizers/" + name;
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline std::vector<nlohmann::json> read_json_lines(const std::string& name) {
  std::istringstream in(read_text(data_path(name)));
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) out.push_back(nlohmann::json::parse(line));
  return out;
}

using test_support::TempFolder;

}  // namespace tune::test
