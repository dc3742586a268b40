// What is refused before anything is computed, and what is not.
#include "program/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "regard/error.h"
#include "regard/program.h"

namespace regard {
namespace {

using ::testing::HasSubstr;

// A problem of shapes only: checks read no operands.
Problem shapes(int64_t q_len, int64_t k_len, int64_t heads = 2, int64_t batch = 1) {
  Problem problem;
  problem.q = {.batch = batch, .seq = q_len, .heads = heads, .dim = 8};
  problem.k = problem.v = {.batch = batch, .seq = k_len, .heads = heads, .dim = 8};
  return problem;
}

std::string fault_of(const Problem& problem) {
  try {
    program::check_programs(problem);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

// The fault of a score program that reads t (f32), counted 0, 1, 2, ...
std::string fault_of_score(const std::string& text, Problem problem, int64_t extent) {
  std::vector<float> t(static_cast<size_t>(extent));
  std::iota(t.begin(), t.end(), 0.0f);
  const ProgramTensor bound{t.data(), false, 1, {extent}, {1}};
  const Program program = score_program(text, {{"t"}});
  problem.score_program = {&program, &bound, 1};
  return fault_of(problem);
}

TEST(Check, IndicesInside_Pass) {
  EXPECT_EQ(fault_of_score("score + t[h]", shapes(9, 9), 2), "");
  EXPECT_EQ(fault_of_score("score + t[q - kv + kv_len - 1]", shapes(9, 9), 17), "");
  EXPECT_EQ(fault_of_score("score + t[clamp(q - kv, -3, 3) + 3]", shapes(100, 90), 7), "");
  EXPECT_EQ(fault_of_score("score + t[clamp(floor(score), 0, 6)]", shapes(100, 90), 7), "");
  EXPECT_EQ(fault_of_score("score + t[q % 4]", shapes(100, 90), 4), "");
}

TEST(Check, IndexOutside_NamesPlaceValueAndLimit) {
  EXPECT_EQ(fault_of_score("score + t[h + 1]", shapes(9, 9), 2),
            "score program, character 9: index 2 on axis 0 of tensor 't' is outside 0 to 1 (batch "
            "row 0, document 0, head 1, query 0, key 0); clamp it, guard it with c ? x : y, or "
            "mask such pairs");
  EXPECT_THAT(fault_of_score("score + t[q - kv]", shapes(9, 9), 9), HasSubstr("index -"));
  EXPECT_THAT(fault_of_score("score + t[q]", shapes(9, 9), 8), HasSubstr("query 8"));
  EXPECT_THAT(fault_of_score("score + t[floor(score)]", shapes(9, 9), 8),
              HasSubstr("index that depends on the score on axis 0 of tensor 't' cannot be shown"));
}

TEST(Check, BranchesNotTaken_MayReadAnything) {
  EXPECT_EQ(fault_of_score("abs(q - kv) < 4 ? score + t[q - kv + 3] : score", shapes(50, 70), 7),
            "");
  EXPECT_NE(fault_of_score("abs(q - kv) <= 4 ? score + t[q - kv + 3] : score", shapes(50, 70), 7),
            "");
  EXPECT_EQ(fault_of_score("where(q > 2 && t[q - 3] > 0, 1, score)", shapes(9, 9), 6), "");
  EXPECT_EQ(fault_of_score("q <= 2 || t[q - 3] > 0 ? 1 : score", shapes(9, 9), 6), "");
  EXPECT_NE(fault_of_score("q <= 1 || t[q - 3] > 0 ? 1 : score", shapes(9, 9), 6), "");
  // The same element, once with and once without a guard.
  EXPECT_NE(fault_of_score("(q > 2 ? t[q - 3] : 0) + t[q - 3] * score", shapes(9, 9), 6), "");
}

TEST(Check, MaskedPairs_MayReadAnything) {
  Problem causal = shapes(40, 40);
  causal.causal = Causal::upper_left;
  EXPECT_EQ(fault_of_score("score + t[q - kv]", causal, 40), "");
  EXPECT_NE(fault_of_score("score + t[q - kv]", causal, 39), "");
  EXPECT_EQ(fault_of_score("score + t[q + kv]", causal, 79), "");  // 78 at the last pair alone
  EXPECT_THAT(fault_of_score("score + t[q + kv]", causal, 78), HasSubstr("query 39, key 39"));
  // Boxes of other proportions than the diagonal's.
  Problem wide = shapes(40, 64);
  wide.causal = Causal::upper_left;
  EXPECT_THAT(fault_of_score("score + t[q + kv]", wide, 78), HasSubstr("query 39, key 39"));
  causal.window.left = 5;
  EXPECT_EQ(fault_of_score("score + t[q - kv]", causal, 6), "");

  Problem masked = shapes(40, 40);
  const Program mask = mask_program("q >= kv && q - kv < 6 && doc[q] == doc[kv]");
  masked.mask_program = {&mask, nullptr, 0};
  EXPECT_EQ(fault_of_score("score + t[q - kv]", masked, 6), "");
  EXPECT_NE(fault_of_score("score + t[q - kv]", masked, 5), "");

  std::vector<uint8_t> seen(40 * 40, 0);
  for (size_t q = 0; q < 40; ++q) seen[q * 40 + q] = 1;
  Problem dense = shapes(40, 40);
  dense.mask = {seen.data(), 0, 0, 40, 1};
  EXPECT_EQ(fault_of_score("score + t[q - kv]", dense, 1), "");
}

TEST(Check, PositionsCountInsideDocuments) {
  const int32_t offsets[4] = {0, 3, 3, 10};
  Problem packed = shapes(10, 10);
  packed.documents = {offsets, offsets, 3};
  EXPECT_EQ(fault_of_score("score + t[q]", packed, 7), "");
  EXPECT_NE(fault_of_score("score + t[q]", packed, 6), "");
  EXPECT_EQ(fault_of_score("score + t[doc[q]]", packed, 3), "");
  EXPECT_EQ(fault_of_score("score + t[doc[q]]", shapes(10, 10), 1), "");
  EXPECT_THAT(fault_of_score("score + t[doc[q + 1]]", packed, 3),
              HasSubstr("character 11: doc[3] is outside the positions 0 to 2"));
}

TEST(Check, DivisionByZero_IsRefusedWhereItCounts) {
  EXPECT_THAT(fault_of_score("score / (q - kv)", shapes(9, 9), 1),
              HasSubstr("character 7: division by zero"));
  EXPECT_THAT(fault_of_score("score + 7 % (q - kv)", shapes(9, 9), 1),
              HasSubstr("division by zero"));
  EXPECT_EQ(fault_of_score("q != kv ? score / (q - kv) : score", shapes(9, 9), 1), "");
  EXPECT_EQ(fault_of_score("score / (abs(q - kv) + 1)", shapes(9, 9), 1), "");
  EXPECT_THAT(fault_of_score("score + 1 / (h * 2 - h - h)", shapes(9, 9), 1),
              HasSubstr("character 11: division by zero"));
  EXPECT_EQ(fault_of_score("h < 0 ? 1 / 0 : score", shapes(9, 9), 1), "");
  EXPECT_THAT(fault_of_score("score / t[h]", shapes(9, 9), 2), HasSubstr("head 0"));
  EXPECT_EQ(fault_of_score("score / t[h + 1]", shapes(9, 9), 3), "");
  EXPECT_EQ(fault_of_score("1 / score", shapes(9, 9), 1), "");  // IEEE 754 answers
  EXPECT_EQ(fault_of_score("score / (q - kv)", shapes(0, 9), 1), "");
}

TEST(Check, TensorsThatDoNotFit_AreRefused) {
  const float t[4] = {};
  const Program program = score_program("score + t[h]", {{"t"}});
  Problem problem = shapes(4, 4);
  const auto fault_with = [&](const ProgramTensor& tensor, int32_t count = 1) {
    problem.score_program = {&program, &tensor, count};
    return fault_of(problem);
  };
  EXPECT_EQ(fault_with({t, false, 1, {4}, {1}}), "");
  EXPECT_THAT(fault_with({t, true, 1, {4}, {1}}),
              HasSubstr("holds int32 and the program reads f32"));
  EXPECT_THAT(fault_with({t, false, 2, {2, 2}, {2, 1}}), HasSubstr("has 2 axes"));
  EXPECT_THAT(fault_with({t, false, 1, {0}, {1}}), HasSubstr("extent 0"));
  EXPECT_THAT(fault_with({nullptr, false, 1, {4}, {1}}), HasSubstr("null"));
  EXPECT_THAT(fault_with({t, false, 1, {int64_t{1} << 40}, {1}}), HasSubstr("2^31"));
  EXPECT_THAT(fault_with({t, false, 1, {4}, {1}}, 2), HasSubstr("2 tensors are bound"));
  problem.score_program = {};
  problem.mask_program = {&program, nullptr, 1};
  EXPECT_THAT(fault_of(problem), HasSubstr("a score program was given as mask"));
  const Program unknown = score_program("score + t[h]", {{"t", ElementType::unknown, 0}});
  const ProgramTensor tensor{t, false, 1, {4}, {1}};
  problem = shapes(4, 4);
  problem.score_program = {&unknown, &tensor, 1};
  EXPECT_THAT(fault_of(problem), HasSubstr("can be checked only"));
}

TEST(Check, LongSequences_AreCheckedByBoxes) {
  // Pair by pair this would be 4 * 10^9 evaluations.
  Problem problem = shapes(65536, 65536, 32);
  EXPECT_EQ(fault_of_score("abs(q - kv) < 64 ? score + t[q - kv + 63] : score", problem, 127), "");
  EXPECT_NE(fault_of_score("abs(q - kv) < 64 ? score + t[q - kv + 63] : score", problem, 126), "");
}

}  // namespace
}  // namespace regard
