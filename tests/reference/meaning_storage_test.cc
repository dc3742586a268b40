// Chunks, block masks, sinks, and where keys lie, on cases small enough to compute by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/program.h"
#include "tests/reference/tiny.h"

namespace regard {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Weights 1/4 and 1/4 beside a sink of ln 2, which takes the other half.
TEST(Reference, Sink_TakesItsShareAndEntersLse) {
  const float sink = std::log(2.0f);
  Tiny tiny = uniform(1, {4, 8});
  tiny.problem.sink = {&sink};
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], 3.0f, 1e-6);
  EXPECT_NEAR(tiny.lse[0], std::log(4.0f), 1e-6);
}

TEST(Reference, SinkOfARowWithoutKeys_IsItsLse) {
  const float sink = 1.5f;
  Tiny tiny = uniform(2, {1});
  tiny.problem.causal = Causal::lower_right;  // the first query sees nothing
  tiny.problem.sink = {&sink};
  tiny.forward();
  EXPECT_EQ(tiny.o[0], 0.0f);
  EXPECT_EQ(tiny.lse[0], 1.5f);
}

// One query over keys with weights 1/4, 1/4 and the sink's 1/2; v = 4, 8, hence O = 3, dO . O = 3.
TEST(Reference, SinkGradient_IsMinusItsWeightTimesTheOutputs) {
  const float sink = std::log(2.0f), d_lse = 0.5f;
  Tiny tiny = uniform(1, {4, 8});
  tiny.problem.sink = {&sink};
  std::vector<float> d_o{1}, dq(1), dk(2), dv(2);
  float d_sink = std::nanf(""), d_lse_value = d_lse;
  reference::backward(tiny.problem, {.d_o = Tiny::view_of(d_o, 1),
                                     .d_lse = {&d_lse_value, 1, 1},
                                     .dq = Tiny::view_of(dq, 1),
                                     .dk = Tiny::view_of(dk, 1),
                                     .dv = Tiny::view_of(dv, 1),
                                     .d_sink = &d_sink});
  EXPECT_NEAR(d_sink, 0.5f * (0.5f - 3.0f), 1e-6);
  EXPECT_THAT(dv, ElementsAre(0.25f, 0.25f));
}

TEST(Reference, Chunks_SeeTheirOwnKeysOnly) {
  Tiny tiny = uniform(5, {1, 10, 100, 1000, 10000});
  tiny.problem.chunks = {.size = 2};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(5.5f, 5.5f, 550, 550, 10000));
}

// Cuts 0, 2, 4 for the first head and 0, 1, 3, 5 for the second.
TEST(Reference, ShiftedChunks_BeginLaterFromTheirHeadOn) {
  Tiny tiny({0, 0, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 1}, {1, 10, 100, 1000}, 2, 1);
  tiny.problem.chunks = {.size = 2, .shift = 1, .first_shifted_head = 1};
  tiny.forward();  // [query][head]
  EXPECT_THAT(tiny.o, ElementsAre(5.5f, 1, 5.5f, 55, 550, 55, 550, 1000));
}

// A decoding step: the query stands at the last of five keys, alone in its chunk.
TEST(Reference, ChunksOverMoreKeysThanQueries_AreAlignedLowerRight) {
  Tiny tiny = uniform(2, {1, 10, 100, 1000, 10000});
  tiny.problem.chunks = {.size = 4};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(FloatNear(1111 / 4.0f, 1e-3f), 10000));
}

TEST(Reference, BlockMask_HidesWhatIsNotListed) {
  const int32_t row_offsets[] = {0, 1, 3}, columns[] = {1, 0, 2};
  Tiny tiny = uniform(3, {1, 10, 100, 1000, 10000});
  tiny.problem.block_mask = {
      .row_offsets = row_offsets, .columns = columns, .block_q = 2, .block_k = 2, .num_rows = 2};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(550, 550, FloatNear(10011 / 3.0f, 1e-3f)));
}

TEST(Reference, FullBlocksAreSeen_OthersAskTheMaskProgram) {
  const int32_t row_offsets[] = {0, 2}, columns[] = {0, 1};
  const uint8_t is_full[] = {1, 0};
  const Program below = mask_program("kv < 3");
  Tiny tiny = uniform(1, {1, 10, 100, 1000});
  tiny.problem.block_mask = {.row_offsets = row_offsets,
                             .columns = columns,
                             .is_full = is_full,
                             .block_q = 1,
                             .block_k = 2,
                             .num_rows = 1};
  tiny.problem.mask_program = {.program = &below};
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], 111 / 3.0f, 1e-4);
}

TEST(Reference, ScoreProgram_SeesTheCappedScoreAndPositions) {
  const Program program = score_program("where(kv == 0, score + h, 0.0)");
  Tiny tiny({1000.0f}, {1, 1}, {3, 7});
  tiny.problem.softcap = std::log(3.0f);  // both scores are capped to ln 3
  tiny.problem.score_program = {.program = &program};
  tiny.forward();
  EXPECT_NEAR(tiny.o[0], (3 * 3 + 7) / 4.0f, 1e-6);
}

// Keys 3 and 4 belong to document 0, key 0 to document 1; query 1 to none.
TEST(Reference, DocumentLengths_LeaveQueriesAndKeysUnowned) {
  const int32_t q_starts[] = {2, 0}, q_lengths[] = {1, 1}, k_starts[] = {3, 0},
                k_lengths[] = {2, 1};
  Tiny tiny = uniform(3, {1, 10, 100, 1000, 10000});
  tiny.problem.documents = {q_starts, k_starts, 2, q_lengths, k_lengths};
  const float sink = -kInfinity;
  tiny.problem.sink = {&sink};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(1, 0, 5500));
  EXPECT_EQ(tiny.lse[1], -kInfinity);

  std::vector<float> d_o{1, 1, 1}, dq(3, 7.0f), dk(5, 7.0f), dv(5, 7.0f);
  reference::backward(tiny.problem, {.d_o = Tiny::view_of(d_o, 1),
                                     .dq = Tiny::view_of(dq, 1),
                                     .dk = Tiny::view_of(dk, 1),
                                     .dv = Tiny::view_of(dv, 1)});
  EXPECT_EQ(dq[1], 0.0f);
  EXPECT_THAT(dv, ElementsAre(1, 0, 0, 0.5f, 0.5f));
  EXPECT_THAT(dk, ElementsAre(0, 0, 0, 0, 0));  // queries of zeros
}

TEST(Reference, KeysOfTwoDocuments_ServeBothInAForward) {
  const int32_t q_offsets[] = {0, 1, 2}, k_starts[] = {0, 1}, k_lengths[] = {2, 2};
  Tiny tiny = uniform(2, {1, 10, 100});
  tiny.problem.documents = {q_offsets, k_starts, 2, nullptr, k_lengths};
  tiny.forward();
  EXPECT_THAT(tiny.o, ElementsAre(5.5f, 55));
}

// Pages of two rows: the sequence's keys are row 1 of page 2, then row 0 of page 0.
TEST(Reference, Pages_AreReadThroughTheTable) {
  const int32_t table[] = {2, 0}, lengths[] = {2}, starts[] = {1};
  Tiny tiny = uniform(1, {1, 10, 100, 1000, 10000, 100000});
  for (View* view : {&tiny.problem.k, &tiny.problem.v}) {
    view->batch = 3;
    view->seq = view->stride_batch = 2;
  }
  tiny.problem.pages = {table, 2, lengths, starts};
  tiny.forward();
  EXPECT_EQ(tiny.o[0], (100000 + 1) / 2.0f);
}

TEST(Reference, DescaleFactors_MultiplyF8Operands) {
  uint8_t q[1], k[2], v[2];
  core::store(q, DType::f8_e4m3, 0, 1.0f);
  core::store(k, DType::f8_e4m3, 0, 0.0f);
  core::store(k, DType::f8_e4m3, 1, 0.5f);
  core::store(v, DType::f8_e4m3, 0, 2.0f);
  core::store(v, DType::f8_e4m3, 1, 1.0f);
  const auto view = [](uint8_t* data, int64_t seq) {
    return View{.data = data,
                .dtype = DType::f8_e4m3,
                .batch = 1,
                .seq = seq,
                .heads = 1,
                .dim = 1,
                .stride_batch = seq,
                .stride_seq = 1,
                .stride_head = 1};
  };
  const float q_factor = 2.0f, k_factor = std::log(3.0f), v_factor = 4.0f;
  std::vector<float> o(1);
  Problem problem;
  problem.q = view(q, 1);
  problem.k = view(k, 2);
  problem.v = view(v, 2);
  problem.descale = {&q_factor, &k_factor, &v_factor, 0};
  reference::forward(problem, {.o = Tiny::view_of(o, 1)});
  EXPECT_NEAR(o[0], 4 * (2 + 3 * 1) / 4.0f, 1e-6);  // scores 0 and 2 * ln 3 / 2
}

}  // namespace
}  // namespace regard
