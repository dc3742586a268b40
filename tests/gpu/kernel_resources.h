// What a compiled kernel takes of a multiprocessor, for the compile tests.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "gpu/jit/compile.h"
#include "gpu/plan/print_config.h"
#include "gpu/plan/problem_params.h"

namespace regard::testing {

inline constexpr std::array kComputeCapabilities = {75, 80, 86, 89, 90, 100, 120};

// As ptxas -v reports them; -1 where it does not.
struct KernelResources {
  int registers = -1, stack_bytes = -1, spill_store_bytes = -1, spill_load_bytes = -1;
};

inline int number_before(const std::string& log, const std::string& words) {
  const size_t end = log.find(words);
  if (end == std::string::npos || end == 0) {
    return -1;
  }
  const size_t begin = log.find_last_not_of("0123456789", end - 1) + 1;
  return begin < end ? std::stoi(log.substr(begin, end - begin)) : -1;
}

inline KernelResources resources_of(const std::string& log) {
  return {number_before(log, " registers"), number_before(log, " bytes stack frame"),
          number_before(log, " bytes spill stores"), number_before(log, " bytes spill loads")};
}

// Compiles and prints; expects registers and shared memory that the GPU has, and no more than
// `allowed_bytes` of local memory.
inline void expect_lean(const gpu::Nvrtc& compiler, const gpu::CompileRequest& request,
                        int allowed_bytes = 0) {
  const std::string name = gpu::describe(request.stem.c_str(), request.config);
  const std::string arch = gpu::arch_of(request.compute_capability);
  SCOPED_TRACE(name + " " + arch);
  const KernelResources used = resources_of(gpu::compile(compiler, request).log);
  std::printf("%-7s %3d registers %4d stack %6d shared  %s\n", arch.c_str(), used.registers,
              used.stack_bytes, request.smem_bytes, name.c_str());
  EXPECT_GT(used.registers, 0);
  EXPECT_LE(used.registers * request.config.num_threads(), 65536);
  EXPECT_LE(used.stack_bytes, allowed_bytes);
  EXPECT_LE(used.spill_store_bytes, allowed_bytes);
  EXPECT_LE(used.spill_load_bytes, allowed_bytes);
  EXPECT_LE(request.smem_bytes, gpu::smem_limit_bytes(request.compute_capability));
}

// Calls judge(item, compute capability): each item for one arch in turn, with REGARD_ALL_CONFIGS=1
// for all of them.
template <typename Items, typename Judge>
void for_each_arch(const Items& items, const Judge& judge) {
  const bool takes_all = std::getenv("REGARD_ALL_CONFIGS") != nullptr;
  size_t turn = 0;
  for (const auto& item : items) {
    for (size_t i = 0; i < kComputeCapabilities.size(); ++i) {
      if (takes_all || i == turn % kComputeCapabilities.size()) {
        judge(item, kComputeCapabilities[i]);
      }
    }
    ++turn;
  }
}

}  // namespace regard::testing
