// Simplification, derivatives, printing.
#include <gtest/gtest.h>

#include <cmath>

#include "program/code.h"
#include "program/evaluate.h"
#include "regard/program.h"
#include "tests/program/random_program.h"

namespace regard {
namespace {

using test::RandomProgramOptions;
using test::RandomTensors;

TEST(Simplify, ExactIdentities_AreApplied) {
  const auto text = [](const char* program) { return score_program(program).text(); };
  EXPECT_EQ(text("score * 1 + (2 * 3 - 6) * q"), score_program("score + (0 * 1.0)").text());
  EXPECT_EQ(text("1 ? score : 1 / score"), "score");
  EXPECT_EQ(text("score - 0"), "score");
  EXPECT_EQ(text("--score"), "score");
  EXPECT_EQ(text("score / 8"), "score * 0.125");
  EXPECT_EQ(text("pow(score, 2)"), "score * score");
  EXPECT_EQ(text("doc[q] == doc[kv] ? score : 0"), "score");
  EXPECT_EQ(text("q - q + kv - kv == 0 ? score : 0"), "score");
}

TEST(Simplify, WhatIsNotExact_Stays) {
  const auto text = [](const char* program) { return score_program(program).text(); };
  EXPECT_EQ(text("score * 0"), "score * 0.0");  // NaN and infinity
  EXPECT_EQ(text("score + 0"), "score + 0.0");  // -0.0
  EXPECT_EQ(text("score - score"), "score - score");
  EXPECT_EQ(text("score / 3"), "score / 3.0");
  EXPECT_EQ(text("score == score ? 1.0 : 2.0"), "score == score ? 1.0 : 2.0");  // NaN
}

TEST(Simplify, EqualParts_AreComputedOnce) {
  const Program program = score_program("exp(score * 0.5) + exp(score * 0.5) * exp(0.5 * score)");
  int num_exp = 0;
  for (const program::Node& node : program.code().graph.nodes()) {
    num_exp += node.op == program::Op::exp;
  }
  EXPECT_EQ(num_exp, 1);
}

TEST(Derivative, KnownForms) {
  EXPECT_EQ(score_program("score + q").d_score_text(), "1.0");
  EXPECT_EQ(score_program("q * 0.5").d_score_text(), "0.0");
  const Program alibi = score_program("score + slopes[h] * (kv - q)", {{"slopes"}});
  ASSERT_EQ(alibi.d_reads_text().size(), 1u);
  EXPECT_EQ(alibi.d_reads_text()[0], "d / d slopes[h] = (kv - q) * 1.0");
}

double at(const Program& program, const RandomTensors& tensors, ProgramPoint point, double score) {
  point.score = score;
  return evaluate(tensors.bind(program), point);
}

// The branch that is not taken may have no derivative.
TEST(Derivative, BranchNotTaken_DoesNotMakeItNan) {
  const Program program = score_program("score > 0 ? sqrt(score) : score * 2");
  program::Evaluator evaluator({&program, nullptr, 0});
  EXPECT_DOUBLE_EQ(evaluator.d_score({.score = -1.0}), 2.0);
  EXPECT_DOUBLE_EQ(evaluator.d_score({.score = 4.0}), 0.25);
}

TEST(Derivative, TiesAndCorners_AreAsDocumented) {
  const auto slope = [](const char* text, double score) {
    const Program program = score_program(text);
    return program::Evaluator({&program, nullptr, 0}).d_score({.score = score});
  };
  EXPECT_EQ(slope("abs(score)", 0.0), 0.0);
  EXPECT_EQ(slope("abs(score)", -2.0), -1.0);
  EXPECT_EQ(slope("min(score, 1)", 1.0), 1.0);
  EXPECT_EQ(slope("min(1, score)", 1.0), 0.0);
  EXPECT_EQ(slope("clamp(score, -1, 1)", 1.0), 1.0);
  EXPECT_EQ(slope("clamp(score, -1, 1)", 1.5), 0.0);
  EXPECT_EQ(slope("floor(score) + score % 2", 2.5), 1.0);
}

TEST(Derivative, OfRandomPrograms_AgreesWithFiniteDifferences) {
  std::mt19937 random(11);
  const RandomTensors tensors(3);
  int num_programs = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string text = test::random_program(random, {.depth = 4, .is_smooth = true});
    const ParsedProgram parsed = parse_program(text, ProgramKind::score, RandomTensors::infos());
    if (!parsed.program) continue;  // longer than a program may be
    ++num_programs;
    program::Evaluator evaluator(tensors.bind(*parsed.program));
    for (const double score : {-1.3, 0.2, 0.9}) {
      const ProgramPoint point{.score = score, .h = 1, .q = 5, .kv = 4, .q_len = 9, .kv_len = 9};
      constexpr double kStep = 1e-5;
      const double numeric = (at(*parsed.program, tensors, point, score + kStep) -
                              at(*parsed.program, tensors, point, score - kStep)) /
                             (2 * kStep);
      // 1e-16 / 1e-5 for the differences, 6e-8 for parts without score, which are f32.
      EXPECT_NEAR(evaluator.d_score(point), numeric, 1e-6 * (1 + std::fabs(numeric))) << text;
    }
  }
  EXPECT_GT(num_programs, 300);
}

TEST(Derivative, OfTensorElements_AgreesWithFiniteDifferences) {
  std::mt19937 random(12);
  for (int i = 0; i < 200; ++i) {
    const std::string text = test::random_program(random, {.depth = 3, .is_smooth = true});
    const Program program = score_program(text, RandomTensors::infos());
    const ProgramPoint point{.score = 0.4, .h = 1, .q = 5, .kv = 4, .q_len = 9, .kv_len = 9};
    RandomTensors tensors(5);
    std::vector<program::ElementGradient> gradients;
    program::Evaluator(tensors.bind(program)).d_tensors(point, gradients);
    double sum = 0.0;  // of d / d row[1] over all reads of it
    for (const program::ElementGradient& gradient : gradients) {
      sum += gradient.tensor == 0 && gradient.element == 1 ? gradient.value : 0.0;
    }
    auto* element = const_cast<float*>(static_cast<const float*>(tensors.bound()[0].data)) + 1;
    const float middle = *element;
    *element = middle + 0x1p-8f;
    const double high = evaluate(tensors.bind(program), point), upper = *element;
    *element = middle - 0x1p-8f;
    const double numeric =
        (high - evaluate(tensors.bind(program), point)) / (upper - static_cast<double>(*element));
    // 2^-16 for the curvature, 6e-8 * 2^8 for f32 rounding of parts without score.
    EXPECT_NEAR(sum, numeric, 2e-4 * (1 + std::fabs(numeric))) << text;
  }
}

// && and || keep their sides: the left one guards the right one.
TEST(Print, Guards_StayInFront) {
  EXPECT_EQ(mask_program("kv == 3 && q / (kv - q) == 1 || q == 1 / (q - kv)").text(),
            mask_program("(kv == 3 && q / (kv - q) == 1) || q == 1 / (q - kv)").text());
  const Program guarded = mask_program("exp(q) <= 2 && 1 / (q * 0.0) > 1 && kv == 2");
  EXPECT_TRUE(parse_program(guarded.text(), ProgramKind::mask, {}).program) << guarded.text();
  const Program repeated =
      score_program("30 * tanh(score <= 2 && abs(q % .0)) <= 2 && abs(q % .0)");
  EXPECT_TRUE(parse_program(repeated.text(), ProgramKind::score, {}).program) << repeated.text();
}

TEST(Print, Text_ParsesToTheSameValues) {
  std::mt19937 random(13);
  const RandomTensors tensors(4);
  int num_checked = 0;
  for (int i = 0; i < 500; ++i) {
    const std::string text = test::random_program(random, {.depth = 3});
    const ParsedProgram first = parse_program(text, ProgramKind::score, RandomTensors::infos());
    ASSERT_TRUE(first.program) << text << ": " << first.fault->message;
    const std::string printed = first.program->text();
    if (printed.find('\n') != std::string::npos) continue;
    const ParsedProgram second = parse_program(printed, ProgramKind::score, RandomTensors::infos());
    ASSERT_TRUE(second.program) << printed << ": " << second.fault->message;
    ++num_checked;
    for (int32_t key = 0; key < 12; ++key) {
      const ProgramPoint point{
          .score = 0.1 * key, .h = key % 3, .q = 6, .kv = key, .q_len = 9, .kv_len = 12};
      const double x = evaluate(tensors.bind(*first.program), point);
      const double y = evaluate(tensors.bind(*second.program), point);
      EXPECT_TRUE(x == y || (std::isnan(x) && std::isnan(y))) << text << "\n" << printed;
    }
  }
  EXPECT_GT(num_checked, 400);
}

}  // namespace
}  // namespace regard
