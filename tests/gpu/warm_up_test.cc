// Compilation ahead of time, without a GPU.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "gpu/jit/nvrtc.h"
#include "regard/cuda.h"
#include "regard/error.h"
#include "tests/support/temp_folder.h"

namespace regard {
namespace {

Problem causal_problem(DType dtype, int64_t queries) {
  const auto view = [&](int64_t seq, int64_t heads) {
    return View{.data = nullptr,
                .dtype = dtype,
                .batch = 1,
                .seq = seq,
                .heads = heads,
                .dim = 64,
                .stride_batch = seq * heads * 64,
                .stride_seq = heads * 64,
                .stride_head = 64};
  };
  Problem problem;
  problem.q = view(queries, 4);
  problem.k = problem.v = view(4096, 2);
  problem.causal = Causal::lower_right;
  return problem;
}

size_t num_entries(const std::filesystem::path& folder) {
  size_t count = 0;
  if (std::filesystem::exists(folder)) {
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::recursive_directory_iterator(folder)) {
      count += entry.is_regular_file() ? 1 : 0;
    }
  }
  return count;
}

// One process, one cache folder: the order within this test is the point.
TEST(WarmUp, ProblemsNeverSeen_AddTheirKernelsToTheCacheOnce) {
  const test_support::TempFolder folder;
  ASSERT_EQ(setenv("REGARD_CACHE_DIR", folder.path().c_str(), 1), 0);  // before anything asks
  std::string reason;
  if (gpu::nvrtc(reason) == nullptr) {
    GTEST_SKIP() << reason;
  }
  compile_cuda_kernels(causal_problem(DType::f16, 4096), Pass::inference, 80);
  EXPECT_EQ(num_entries(folder.path()), 1u);
  compile_cuda_kernels(causal_problem(DType::f16, 4096), Pass::inference, 80);
  EXPECT_EQ(num_entries(folder.path()), 1u);
  compile_cuda_kernels(causal_problem(DType::f16, 1), Pass::inference, 80);
  EXPECT_EQ(num_entries(folder.path()), 3u) << "decoding and merging";
  const size_t before = num_entries(folder.path());
  compile_cuda_kernels(causal_problem(DType::f16, 4096), Pass::training, 80);
  EXPECT_GT(num_entries(folder.path()), before) << "the backward's";
}

TEST(WarmUp, ProblemThatNoKernelServes_IsRefusedWithTheReason) {
  std::string reason;
  if (gpu::nvrtc(reason) == nullptr) {
    GTEST_SKIP() << reason;
  }
  Problem problem = causal_problem(DType::f16, 16);
  problem.quantization.scores = ScoreFormat::int8;
  try {
    compile_cuda_kernels(problem, Pass::inference, 75);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("int8 scores"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace regard
