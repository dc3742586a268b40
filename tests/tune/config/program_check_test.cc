// The grammar of score and mask programs, and the evaluator behind rule 21.
#include "tune/config/program_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tune {
namespace {

const std::vector<std::string> kTensors = {"slopes", "table"};

Program score(const std::string& text) { return parse_program(text, ProgramKind::score, kTensors); }

double value(const std::string& text, ProgramPoint point = {}) {
  const Program program = score(text);
  EXPECT_FALSE(program.fault.has_value()) << text << ": " << program.fault->message;
  return evaluate_program(program, point);
}

TEST(ProgramCheck, Precedence_IsThatOfC) {
  EXPECT_DOUBLE_EQ(value("1 + 2 * 3"), 7);
  EXPECT_DOUBLE_EQ(value("(1 + 2) * 3"), 9);
  EXPECT_DOUBLE_EQ(value("10 - 4 - 3"), 3);
  EXPECT_DOUBLE_EQ(value("12 / 3 / 2"), 2);
  EXPECT_DOUBLE_EQ(value("7 % 4 * 2"), 6);
  EXPECT_DOUBLE_EQ(value("-2 * -3"), 6);
  EXPECT_DOUBLE_EQ(value("1 + 1 == 2 && 3 > 2 || 0"), 1);
  EXPECT_DOUBLE_EQ(value("1 || 0 && 0"), 1);
  EXPECT_DOUBLE_EQ(value("1 < 2 == 1"), 1);
  EXPECT_DOUBLE_EQ(value("!0 + 1"), 2);
  EXPECT_DOUBLE_EQ(value("0 ? 1 : 0 ? 2 : 3"), 3);
  EXPECT_DOUBLE_EQ(value("1 ? 2 : 3 + 10"), 2);
  EXPECT_DOUBLE_EQ(value("2 >= 2 != 0"), 1);
  EXPECT_DOUBLE_EQ(value(" .5e1\t+\n1e-1 "), 5.1);
}

TEST(ProgramCheck, Functions_AreThoseOfTheList) {
  EXPECT_DOUBLE_EQ(value("abs(-3) + min(1, 2) + max(1, 2)"), 6);
  EXPECT_DOUBLE_EQ(value("exp(1)"), std::exp(1.0));
  EXPECT_DOUBLE_EQ(value("exp2(3) + log(1) + floor(2.7)"), 10);
  EXPECT_DOUBLE_EQ(value("tanh(0.5)"), std::tanh(0.5));
  EXPECT_DOUBLE_EQ(value("sigmoid(0) + sqrt(9) + rsqrt(4)"), 4);
  EXPECT_DOUBLE_EQ(value("pow(2, 5) + clamp(9, 0, 4) + where(0, 1, 2)"), 38);
}

TEST(ProgramCheck, Names_ReadThePoint) {
  ProgramPoint point{.score = 2, .b = 3, .h = 5, .q = 7, .kv = 11, .q_len = 13, .kv_len = 17};
  EXPECT_DOUBLE_EQ(value("score + b + h + q + kv + q_len + kv_len", point), 58);
  point.tensor = 0.5;
  EXPECT_DOUBLE_EQ(value("score + slopes[h] * (kv - q)", point), 4);
  EXPECT_DOUBLE_EQ(value("table[h, q] + table[b][kv]", point), 1);
  EXPECT_DOUBLE_EQ(value("doc[q] == doc[kv]", point), 1);
}

struct BadProgram {
  std::string text;
  size_t position;
  std::string word;
};

TEST(ProgramCheck, BrokenText_GivesPositionAndExpectation) {
  const std::vector<BadProgram> cases = {
      {"", 1, "end of the program"},
      {"score +", 8, "expected a value"},
      {"score + * 2", 9, "found '*'"},
      {"score score", 7, "expected an operator"},
      {"(score", 7, "expected ')'"},
      {"score)", 6, "expected an operator"},
      {"foo + 1", 1, "unknown name 'foo'"},
      {"score + slope[h]", 9, "unknown name 'slope'"},
      {"slopes", 7, "needs an index"},
      {"slopes[h", 9, "expected ']'"},
      {"slopes[]", 8, "expected a number"},
      {"min(1)", 1, "takes 2 arguments, found 1"},
      {"abs(1, 2)", 1, "takes 1 argument, found 2"},
      {"abs 1", 5, "expected '('"},
      {"1 ? 2", 6, "expected ':'"},
      {"1 & 2", 3, "found '&'"},
      {"1 = 2", 3, "found '='"},
      {"2x", 2, "a number ends here"},
      {"1.2.3", 4, "a number ends here"},
      {"0x10", 2, "a number ends here"},
      {"doc", 4, "expected '['"},
      {"doc[1, 2]", 10, "one index"},
      {"score; 1", 6, "found ';'"},
      {"\"a\"", 1, "expected a number"},
  };
  for (const BadProgram& bad : cases) {
    const Program program = score(bad.text);
    ASSERT_TRUE(program.fault.has_value()) << bad.text;
    EXPECT_EQ(program.fault->position, bad.position) << bad.text << ": " << program.fault->message;
    EXPECT_NE(program.fault->message.find(bad.word), std::string::npos) << program.fault->message;
    EXPECT_TRUE(program.steps.empty());
  }
}

TEST(ProgramCheck, Mask_HasNoScore) {
  const Program mask = parse_program("score > 0", ProgramKind::mask, {});
  ASSERT_TRUE(mask.fault.has_value());
  EXPECT_NE(mask.fault->message.find("no score"), std::string::npos);
}

TEST(ProgramCheck, DepthAndLength_AreBounded) {
  EXPECT_FALSE(score(std::string(60, '(') + "1" + std::string(60, ')')).fault.has_value());
  EXPECT_TRUE(score(std::string(100, '(') + "1" + std::string(100, ')')).fault.has_value());
  EXPECT_TRUE(score(std::string(100000, '(')).fault.has_value());
  EXPECT_DOUBLE_EQ(value(std::string(4000, '-') + "1"), 1);
  std::string chain = "0";
  for (int i = 0; i < 1000; ++i) chain += "?1:0";
  EXPECT_TRUE(score(chain).fault.has_value());
  EXPECT_TRUE(score(std::string(5000, ' ') + "1").fault.has_value());
}

TEST(ProgramCheck, WildValues_FollowIeee754) {
  EXPECT_TRUE(std::isinf(value("1 / 0")));
  EXPECT_TRUE(std::isnan(value("0 / 0")));
  EXPECT_TRUE(std::isnan(value("5 % 0")));
  EXPECT_TRUE(std::isinf(value("exp(1000)")));
  EXPECT_TRUE(std::isnan(value("sqrt(0 - 1)")));
}

TEST(ProgramCheck, RandomTokens_NeverCrash) {
  const std::vector<std::string> tokens = {
      "score", "q",   "kv",  "h",   "(",   ")",      "[",  "]",     "+",   "-", "*",
      "/",     "%",   "<",   ">=",  "==",  "&&",     "||", "!",     "?",   ":", ",",
      "1",     "0.5", "min", "abs", "doc", "slopes", " ",  "where", "\xC3"};
  std::mt19937 generator(7);
  int num_valid = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    for (size_t n = generator() % 12; n-- > 0;) text += tokens[generator() % tokens.size()];
    const Program program = score(text);
    EXPECT_NE(program.fault.has_value(), !program.steps.empty()) << text;
    if (program.fault) continue;
    ++num_valid;
    evaluate_program(program, {.q = 3, .kv = 9});
    mask_sees_later_keys(program, 8);
  }
  EXPECT_GT(num_valid, 100);
}

bool sees_later(const std::string& text, int64_t length) {
  return mask_sees_later_keys(parse_program(text, ProgramKind::mask, kTensors), length);
}

TEST(MaskGrid, CausalAndWindowedMasks_SeeNoLaterKey) {
  for (const int64_t length : {2, 3, 64, 100000}) {
    EXPECT_FALSE(sees_later("q >= kv", length));
    EXPECT_FALSE(sees_later("q >= kv && q - kv < 128", length));
    EXPECT_FALSE(sees_later("kv <= q && slopes[h] > 0", length));
  }
}

TEST(MaskGrid, LaterKeys_AreFoundNearAndFar) {
  EXPECT_TRUE(sees_later("1", 2));
  EXPECT_TRUE(sees_later("kv <= q + 1", 64));
  EXPECT_TRUE(sees_later("q >= kv || kv - q > 4000", 8192));
  EXPECT_TRUE(sees_later("q >= kv || kv < 4", 8192));
  EXPECT_TRUE(sees_later("q >= kv || h == 7", 64));
  EXPECT_TRUE(sees_later("q >= kv || slopes[b] > kv", 64));
  EXPECT_FALSE(sees_later("kv <= q + 1", 1));
}

}  // namespace
}  // namespace tune
