// Intervals hold every value a program takes in a box; mask decisions are exact.
#include <gtest/gtest.h>

#include <cmath>

#include "program/decide.h"
#include "program/interval.h"
#include "tests/program/random_program.h"

namespace regard {
namespace {

using program::Box;
using program::Interval;
using program::Verdict;
using test::RandomTensors;

Box random_box(std::mt19937& random) {
  Box box;
  const auto pick = [&](int32_t end) {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(end));
  };
  box.q_lo = pick(12);
  box.q_hi = box.q_lo + pick(5);
  box.kv_lo = pick(12);
  box.kv_hi = box.kv_lo + pick(5);
  box.h_lo = pick(3);
  box.h_hi = box.h_lo + pick(2);
  box.q_len = box.kv_len = 20;
  return box;
}

template <class Visit>
void for_each_pair(const Box& box, const Visit& visit) {
  for (int32_t h = box.h_lo; h <= box.h_hi; ++h) {
    for (int32_t q = box.q_lo; q <= box.q_hi; ++q) {
      for (int32_t kv = box.kv_lo; kv <= box.kv_hi; ++kv) {
        visit(ProgramPoint{.h = h, .q = q, .kv = kv, .q_len = box.q_len, .kv_len = box.kv_len});
      }
    }
  }
}

TEST(Interval, HoldsEveryValueOfTheBox) {
  std::mt19937 random(21);
  const RandomTensors tensors(6);
  for (int i = 0; i < 3000; ++i) {
    const std::string text =
        test::random_program(random, {.depth = 3, .has_score = false, .is_total = i % 2 == 0});
    const Program program = score_program(text, RandomTensors::infos());
    program::IntervalEvaluator intervals(tensors.bind(program));
    program::Evaluator evaluator(tensors.bind(program));
    const Box box = random_box(random);
    const Interval interval = intervals.result(box);
    for_each_pair(box, [&](const ProgramPoint& point) {
      const double value = evaluator.value(point);
      if (std::isnan(value)) {
        EXPECT_TRUE(interval.has_nan) << text;
      } else {
        EXPECT_LE(interval.lo, value) << text;
        EXPECT_GE(interval.hi, value) << text;
      }
    });
  }
}

TEST(Interval, DecidesUsualMasksWithoutPairs) {
  const auto bounds = [](const char* text, const Box& box) {
    const Program mask = mask_program(text);
    return program::MaskDecider({&mask, nullptr, 0}).bounds(box);
  };
  const Box below{.q_lo = 256, .q_hi = 383, .kv_lo = 0, .kv_hi = 127};
  const Box diagonal{.q_lo = 256, .q_hi = 383, .kv_lo = 256, .kv_hi = 383};
  const Box above{.q_lo = 0, .q_hi = 127, .kv_lo = 128, .kv_hi = 255};
  EXPECT_EQ(bounds("q >= kv", below), Verdict::all);
  EXPECT_EQ(bounds("q >= kv", diagonal), Verdict::some);
  EXPECT_EQ(bounds("q >= kv", above), Verdict::none);
  EXPECT_EQ(bounds("q >= kv && q - kv < 64", below), Verdict::none);
  EXPECT_EQ(bounds("abs(q - kv) <= 400 && kv < 128", below), Verdict::all);
  EXPECT_EQ(bounds("q / 128 == kv / 128", below), Verdict::none);
  EXPECT_EQ(bounds("q / 128 == kv / 128", diagonal), Verdict::all);
}

TEST(MaskDecider, RandomMasks_AreDecidedAsPairByPair) {
  std::mt19937 random(22);
  const RandomTensors tensors(7);
  int counts[3] = {};
  for (int i = 0; i < 3000; ++i) {
    const std::string text =
        test::random_program(random, {.depth = 2, .has_score = false}) + " < 0.3";
    const Program mask = mask_program(text, RandomTensors::infos());
    const Box box = random_box(random);
    bool any = false, all = true;
    program::Evaluator evaluator(tensors.bind(mask));
    for_each_pair(box, [&](const ProgramPoint& point) {
      const bool sees = evaluator.value(point) != 0.0;
      any = any || sees;
      all = all && sees;
    });
    const Verdict expected = !any ? Verdict::none : all ? Verdict::all : Verdict::some;
    EXPECT_EQ(program::MaskDecider(tensors.bind(mask)).decide(box), expected) << text;
    ++counts[static_cast<int>(expected)];
  }
  for (const int count : counts) EXPECT_GT(count, 100);
}

}  // namespace
}  // namespace regard
