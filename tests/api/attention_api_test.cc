#include "regard/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "regard/error.h"

namespace regard {
namespace {

// Dense [1, seq, heads, dim] over `values`.
View dense_view(std::vector<float>& values, int64_t seq, int64_t heads, int64_t dim) {
  return {.data = values.data(),
          .batch = 1,
          .seq = seq,
          .heads = heads,
          .dim = dim,
          .stride_batch = seq * heads * dim,
          .stride_seq = heads * dim,
          .stride_head = dim};
}

struct Operands {
  Operands(int64_t sq, int64_t sk)
      : q(static_cast<size_t>(sq * 4), 0.5f),
        k(static_cast<size_t>(sk * 4), 0.25f),
        v(static_cast<size_t>(sk * 4), 2.0f),
        o(q.size(), std::nanf("")),
        lse(static_cast<size_t>(sq), std::nanf("")) {
    problem.q = dense_view(q, sq, 1, 4);
    problem.k = dense_view(k, sk, 1, 4);
    problem.v = dense_view(v, sk, 1, 4);
    outputs = {.o = dense_view(o, sq, 1, 4), .lse = {lse.data(), sq, sq}};
  }
  std::vector<float> q, k, v, o, lse;
  Problem problem;
  ForwardOutputs outputs;
};

constexpr Backend kAll[] = {Backend::automatic, Backend::cpu_tiled, Backend::cpu_eager,
                            Backend::reference};

TEST(AttentionForward, ScaleZero_MeansOneOverRootOfD) {
  for (const Backend backend : kAll) {
    Operands operands(1, 2);
    attention_forward(operands.problem, operands.outputs, backend);
    EXPECT_NEAR(operands.lse[0], 0.25 + std::log(2.0), 1e-6);  // 4 * 0.5 * 0.25 / 2
    EXPECT_NEAR(operands.o[0], 2.0, 1e-6);
  }
}

TEST(AttentionForward, NoKeys_WritesZerosAndMinusInfinity) {
  for (const Backend backend : kAll) {
    Operands operands(3, 0);
    attention_forward(operands.problem, operands.outputs, backend);
    EXPECT_THAT(operands.o, ::testing::Each(0.0f));
    EXPECT_THAT(operands.lse, ::testing::Each(-std::numeric_limits<float>::infinity()));
  }
}

TEST(AttentionForward, NoQueries_NeedsNoMemory) {
  for (const Backend backend : kAll) {
    Operands operands(0, 3);
    operands.problem.q.data = nullptr;
    operands.outputs.o.data = nullptr;
    attention_forward(operands.problem, operands.outputs, backend);
  }
}

TEST(AttentionForward, LseNotAskedFor_IsNotNeeded) {
  for (const Backend backend : kAll) {
    Operands operands(2, 2);
    operands.outputs.lse = {};
    attention_forward(operands.problem, operands.outputs, backend);
    EXPECT_NEAR(operands.o[0], 2.0, 1e-6);
  }
}

TEST(AttentionBackward, NoQueries_GivesZeroGradientsOfKeysAndValues) {
  Operands operands(0, 3);
  std::vector<float> dk(12, std::nanf("")), dv(12, std::nanf("")), none;
  const BackwardTensors tensors{.o = operands.outputs.o,
                                .lse = operands.outputs.lse,
                                .d_o = operands.outputs.o,
                                .d_lse = {},
                                .dq = dense_view(none, 0, 1, 4),
                                .dk = dense_view(dk, 3, 1, 4),
                                .dv = dense_view(dv, 3, 1, 4)};
  for (const Backend backend : kAll) {
    attention_backward(operands.problem, tensors, backend);
    EXPECT_THAT(dk, ::testing::Each(0.0f));
    EXPECT_THAT(dv, ::testing::Each(0.0f));
  }
}

TEST(NumThreads, SetAndReset_IsReported) {
  const int before = num_threads();
  EXPECT_GE(before, 1);
  set_num_threads(3);
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(0);
  EXPECT_EQ(num_threads(), before);
  EXPECT_THROW(set_num_threads(-1), Error);
}

TEST(WhyUnsupported, OrdinaryProblem_IsServedByEveryBackend) {
  Operands operands(2, 2);
  for (const Backend backend : kAll) {
    EXPECT_EQ(why_unsupported(backend, operands.problem), "");
  }
}

TEST(Version, Text_HasThreeParts) {
  EXPECT_THAT(std::string(version()), ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_NE(active_target(), "");
}

}  // namespace
}  // namespace regard
