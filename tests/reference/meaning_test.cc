// The conventions of a Problem on cases small enough to compute by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "core/philox.h"
#include "reference/attention.h"
#include "tests/reference/tiny.h"

namespace regard {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Reference, TwoKeys_GiveTheSoftmaxByHand) {
  Tiny tiny({2.0f}, {0.0f, 0.5f * std::log(3.0f)}, {8.0f, 4.0f});
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], 5.0f, 1e-6);              // weights 1/4, 3/4
  EXPECT_NEAR(tiny.lse[0], std::log(4.0f), 1e-6);  // natural logarithm
}

TEST(Reference, CausalLowerRightTwoOverFive_SeesFourThenFive) {
  Tiny tiny = uniform(2, {1, 10, 100, 1000, 10000});
  tiny.problem.causal = Causal::lower_right;
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(FloatNear(1111 / 4.0f, 1e-3f), FloatNear(11111 / 5.0f, 1e-3f)));
}

TEST(Reference, CausalLowerRightFiveOverTwo_EmptiesThreeRows) {
  Tiny tiny = uniform(5, {1, 10});
  tiny.problem.causal = Causal::lower_right;
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(0, 0, 0, 1, 5.5f));
  EXPECT_THAT(tiny.lse,
              ElementsAre(-kInfinity, -kInfinity, -kInfinity, 0, FloatNear(std::log(2.0f), 1e-6f)));
}

TEST(Reference, CausalUpperLeft_SeesKeysUpToTheQuery) {
  Tiny tiny = uniform(2, {1, 10, 100});
  tiny.problem.causal = Causal::upper_left;
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(1, 5.5f));
}

TEST(Reference, Window_CountsKeysBesidesTheQuerysOwn) {
  Tiny tiny = uniform(5, {1, 10, 100, 1000, 10000});
  tiny.problem.window = {.left = 1, .right = 0};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(1, 5.5f, 55, 550, 5500));
}

TEST(Reference, Documents_NeverSeeEachOther) {
  const int32_t q_offsets[] = {0, 1, 1, 3}, k_offsets[] = {0, 2, 3, 3};
  Tiny tiny = uniform(3, {1, 3, 100});
  tiny.problem.documents = {q_offsets, k_offsets, 3};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(2, 0, 0));  // the third document has queries and no keys
  EXPECT_EQ(tiny.lse[2], -kInfinity);
}

TEST(Reference, MaskAndBiasOfMinusInfinity_MaskAlike) {
  const uint8_t mask[] = {1, 0, 2, 0, 0, 0};
  const float bias[] = {0, -kInfinity, 0, -kInfinity, -kInfinity, -kInfinity};
  Tiny masked = uniform(2, {1, 10, 100}), biased = uniform(2, {1, 10, 100});
  masked.problem.mask = {mask, 0, 0, 3, 1};
  biased.problem.bias = {bias, DType::f32, 0, 0, 3, 1};
  for (Tiny* tiny : {&masked, &biased}) {
    tiny->forward();
    EXPECT_THAT(tiny->o, ElementsAre(50.5f, 0));
    EXPECT_EQ(tiny->lse[1], -kInfinity);
  }
}

// A very negative but finite bias is no mask: with all keys equally bad it averages V.
TEST(Reference, FiniteBias_IsNoMask) {
  const float bias[] = {-3e38f, -3e38f};
  Tiny tiny = uniform(1, {1, 3});
  tiny.problem.bias = {bias, DType::f32, 0, 0, 2, 1};
  tiny.forward();
  EXPECT_EQ(tiny.o[0], 2.0f);
}

TEST(Reference, BiasIsAddedAfterSoftcap) {
  const float bias[] = {std::log(3.0f), 0};
  Tiny tiny({1000.0f}, {1, 1}, {1, 5});  // both scores are capped to the same 2
  tiny.problem.softcap = 2.0f;
  tiny.problem.bias = {bias, DType::f32, 0, 0, 2, 1};
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], 2.0f, 1e-6);
  EXPECT_NEAR(tiny.lse[0], 2.0f + std::log(4.0f), 1e-6);
}

TEST(Reference, Alibi_FallsWithTheAlignedDistance) {
  const float slope = std::log(2.0f);
  Tiny tiny = uniform(1, {1, 10, 100});
  tiny.problem.alibi = {.slopes = &slope};
  tiny.forward();  // the query stands at the last key: weights 1/7, 2/7, 4/7
  EXPECT_NEAR(tiny.o[0], (1 + 20 + 400) / 7.0f, 1e-4);
}

TEST(Reference, GroupedHeads_ShareNeighbouringKeys) {
  Tiny tiny({0, 0, 0, 0}, {1, 1}, {3, 7}, 4, 2);
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(3, 3, 7, 7));
}

TEST(Reference, Dropout_ScalesWhatPhiloxKeepsAndLeavesLse) {
  Tiny tiny = uniform(1, {1, 10, 100, 1000});
  tiny.problem.dropout = {.probability = 0.5f, .seed = 5};
  tiny.forward();
  double kept = 0, value = 1;
  for (int64_t key = 0; key < 4; ++key, value *= 10) {
    kept += core::is_kept(tiny.problem.dropout, 0, 0, 0, key) ? value : 0;
  }
  EXPECT_FLOAT_EQ(tiny.o[0], static_cast<float>(2 * kept / 4));
  EXPECT_NEAR(tiny.lse[0], std::log(4.0f), 1e-6);
}

TEST(Reference, ScaleZero_MeansOneOverRootOfD) {
  Tiny tiny({1.0f}, {std::log(2.0f), 0}, {3, 0});
  tiny.problem.scale = 0.0f;  // D = 1
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], 2.0f, 1e-6);
}

TEST(Reference, NanBehindAMask_StaysThere) {
  const uint8_t mask[] = {1, 0};
  Tiny tiny({1.0f}, {1, std::nanf("")}, {4, std::nanf("")});
  tiny.problem.mask = {mask, 0, 0, 2, 1};
  tiny.forward();
  EXPECT_EQ(tiny.o[0], 4.0f);
  tiny.problem.mask = {};
  tiny.forward();
  EXPECT_TRUE(std::isnan(tiny.o[0]));
  EXPECT_TRUE(std::isnan(tiny.lse[0]));
}

TEST(Reference, SixteenBitOperands_AreReadAndWrittenInTheirFormat) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    // Twice the room, so that the compiler sees no f32 access run past the end.
    uint16_t q[2] = {}, k[2] = {}, v[2] = {}, o[2] = {};
    core::store(q, dtype, 0, 1.0f);
    core::store(k, dtype, 0, 1.0f);
    core::store(v, dtype, 0, 1.5f);
    const auto view = [&](uint16_t* value) {
      return View{.data = value,
                  .dtype = dtype,
                  .batch = 1,
                  .seq = 1,
                  .heads = 1,
                  .dim = 1,
                  .stride_batch = 1,
                  .stride_seq = 1,
                  .stride_head = 1};
    };
    Problem problem;
    problem.q = view(q);
    problem.k = view(k);
    problem.v = view(v);
    reference::forward(problem, {.o = view(o)});
    EXPECT_EQ(core::load(o, dtype, 0), 1.5f);
  }
}

}  // namespace
}  // namespace regard
