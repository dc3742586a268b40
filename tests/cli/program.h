// Runs the regard program as a user does and gives back what it said.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_folder.h"

namespace cli {

struct ProgramResult {
  int exit_code = -1;
  std::string output;  // stdout and stderr together
};

// `arguments` is a shell text; `before` is put in front of the program (environment variables,
// ulimit).
inline ProgramResult run_program(const std::string& arguments, const std::string& before = "") {
  const std::string command = before + " " REGARD_PROGRAM " " + arguments + " 2>&1";
  ProgramResult result;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer{};
  while (const size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe))
    result.output.append(buffer.data(), size);
  const int status = ::pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

// A folder of its own, with a small data set and a configuration of the tiny model.
class ProgramTest : public testing::Test {
 protected:
  ProgramTest() {
    std::ofstream data(folder_ + "/data.jsonl");
    for (int i = 0; i < 24; ++i) {
      data << R"({"instruction": "Count to )" << i << R"(.", "output": "One, two, and so on to )"
           << i << ".\"}\n";
    }
  }
  std::string tiny_config(const std::string& extra = "") const {
    return "base_model: " REGARD_EXAMPLES
           "/tiny-llama\nrandom_init_weights: true\n"
           "datasets:\n  - path: " +
           folder_ + "/data.jsonl\n    type: alpaca\ndataset_prepared_path: " + folder_ +
           "/prepared\nsequence_len: 128\nmicro_batch_size: 2\ngradient_accumulation_steps: 1\n"
           "learning_rate: 1e-3\nmax_steps: 4\nbf16: false\noutput_dir: " +
           folder_ + "/out\n" + extra;
  }
  std::string write_config(const std::string& text) const {
    return temp_.write("config.yml", text);
  }

  test_support::TempFolder temp_;
  const std::string folder_ = temp_.path();
};

}  // namespace cli
