// The language: what parses, what it means, and what is said of a text that is no program.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "regard/error.h"
#include "regard/program.h"

namespace regard {
namespace {

const std::vector<TensorInfo> kTensors = {{"slopes", ElementType::real, 1},
                                          {"table", ElementType::real, 2},
                                          {"bucket", ElementType::integer, 1}};
const float kSlopes[2] = {0.5f, 0.25f};
const float kTable[6] = {1, 2, 3, 4, 5, 6};
const int32_t kBucket[3] = {2, 0, 1};
const ProgramTensor kBound[3] = {{kSlopes, false, 1, {2}, {1}},
                                 {kTable, false, 2, {2, 3}, {3, 1}},
                                 {kBucket, true, 1, {3}, {1}}};

double value(const std::string& text, const ProgramPoint& point = {}) {
  const ParsedProgram parsed = parse_program(text, ProgramKind::score, kTensors);
  EXPECT_FALSE(parsed.fault.has_value()) << text << ": " << parsed.fault->message;
  return parsed.program ? evaluate({&*parsed.program, kBound, 3}, point) : NAN;
}

TEST(ProgramText, Precedence_IsThatOfC) {
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
  EXPECT_FLOAT_EQ(static_cast<float>(value(" .5e1\t+\n1e-1 ")), 5.1f);
}

TEST(ProgramText, Integers_AreThoseOfC) {
  EXPECT_DOUBLE_EQ(value("7 / 2"), 3);
  EXPECT_DOUBLE_EQ(value("-7 / 2"), -3);
  EXPECT_DOUBLE_EQ(value("-7 % 3"), -1);
  EXPECT_DOUBLE_EQ(value("7 % -3"), 1);
  EXPECT_DOUBLE_EQ(value("7 / 2.0"), 3.5);
  EXPECT_DOUBLE_EQ(value("7.5 % 2"), 1.5);
  EXPECT_DOUBLE_EQ(value("2147483647 + 1"), -2147483648.0);
  EXPECT_DOUBLE_EQ(value("q * q", {.q = 65536}), 0.0);
  EXPECT_DOUBLE_EQ(value("q / kv", {.q = std::numeric_limits<int32_t>::min(), .kv = -1}),
                   std::numeric_limits<int32_t>::min());
}

TEST(ProgramText, Functions_AreThoseOfTheList) {
  EXPECT_DOUBLE_EQ(value("abs(-3) + min(1, 2) + max(1, 2)"), 6);
  EXPECT_FLOAT_EQ(static_cast<float>(value("exp(1)")), std::exp(1.0f));
  EXPECT_DOUBLE_EQ(value("exp2(3) + log(1) + floor(2.7)"), 10);
  EXPECT_FLOAT_EQ(static_cast<float>(value("tanh(0.5)")), std::tanh(0.5f));
  EXPECT_DOUBLE_EQ(value("sigmoid(0) + sqrt(9) + rsqrt(4)"), 4);
  EXPECT_DOUBLE_EQ(value("pow(2, 5) + clamp(9, 0, 4) + where(0, 1, 2)"), 38);
  EXPECT_DOUBLE_EQ(value("floor(-2.5)"), -3);
}

TEST(ProgramText, Names_ReadThePoint) {
  const ProgramPoint point{
      .score = 2, .b = 3, .h = 1, .q = 2, .kv = 11, .q_len = 13, .kv_len = 17, .doc = 4};
  EXPECT_DOUBLE_EQ(value("score + b + h + q + kv + q_len + kv_len", point), 49);
  EXPECT_DOUBLE_EQ(value("score + slopes[h] * (kv - q)", point), 4.25);
  EXPECT_DOUBLE_EQ(value("table[h, q] + table[0][bucket[q]]", point), 8);
  EXPECT_DOUBLE_EQ(value("doc[q] == doc[kv] && doc[0] == 4", point), 1);
  EXPECT_DOUBLE_EQ(value("table[0, clamp(floor(score), 0, 2)]", point), 3);
}

TEST(ProgramText, Doc_MayBeTheUsersOwnTensor) {
  const int32_t documents[4] = {0, 0, 7, 7};
  const ProgramTensor bound{documents, true, 1, {4}, {1}};
  const Program mask = mask_program("doc[q] == doc[kv]", {{"doc", ElementType::integer, 1}});
  EXPECT_EQ(evaluate({&mask, &bound, 1}, {.q = 2, .kv = 3}), 1.0);
  EXPECT_EQ(evaluate({&mask, &bound, 1}, {.q = 1, .kv = 2}), 0.0);
}

TEST(ProgramText, Reals_AreIeee754) {
  EXPECT_EQ(value("1 / score", {.score = 0.0}), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(value("score / score", {.score = 0.0})));
  EXPECT_TRUE(std::isnan(value("sqrt(score)", {.score = -1.0})));
  EXPECT_EQ(value("exp(1000)"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(value("min(score, 1)", {.score = NAN})));
  EXPECT_EQ(value("min(1, score)", {.score = NAN}), 1.0);
}

struct BadProgram {
  std::string text;
  size_t position;
  std::string word;
};

TEST(ProgramText, BrokenText_GivesPositionAndExpectation) {
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
      {"slopes[h, q]", 1, "has 1 axes, found 2"},
      {"score + table[h]", 9, "has 2 axes, found 1"},
      {"slopes[score]", 1, "real number: use floor"},
      {"slopes[q / 2.0]", 1, "real number: use floor"},
      {"min(1)", 1, "takes 2 arguments, found 1"},
      {"abs(1, 2)", 1, "takes 1 argument, found 2"},
      {"abs 1", 5, "expected '('"},
      {"abs(", 5, "expected a value"},
      {"clamp(1, 2", 11, "expected ')'"},
      {"1 ? 2", 6, "expected ':'"},
      {"1 & 2", 3, "found '&'"},
      {"1 = 2", 3, "found '='"},
      {"2x", 2, "a number ends here"},
      {"1.2.3", 4, "a number ends here"},
      {"0x10", 2, "a number ends here"},
      {"3000000000", 1, "3000000000.0"},
      {"1e999", 1, "a number between"},
      {"score + 1 / 0", 11, "division by zero"},
      {"score / (1.5 - 1.5)", 7, "division by zero"},
      {"doc", 4, "expected '['"},
      {"doc[1, 2]", 10, "one index"},
      {"score; 1", 6, "found ';'"},
      {"\"a\"", 1, "expected a number"},
  };
  for (const BadProgram& bad : cases) {
    const ParsedProgram parsed = parse_program(bad.text, ProgramKind::score, kTensors);
    ASSERT_TRUE(parsed.fault.has_value()) << bad.text;
    EXPECT_FALSE(parsed.program.has_value());
    EXPECT_EQ(parsed.fault->position, bad.position) << bad.text << ": " << parsed.fault->message;
    EXPECT_NE(parsed.fault->message.find(bad.word), std::string::npos) << parsed.fault->message;
  }
}

TEST(ProgramText, Mask_HasNoScore) {
  const ParsedProgram mask = parse_program("score > 0", ProgramKind::mask, {});
  ASSERT_TRUE(mask.fault.has_value());
  EXPECT_NE(mask.fault->message.find("no score"), std::string::npos);
  EXPECT_THROW(Program(ProgramKind::mask, score_program("score").result()), Error);
}

TEST(ProgramText, ThrowingForm_NamesKindAndPosition) {
  try {
    mask_program("q >= ");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_EQ(std::string(error.what()),
              "mask program, character 6: expected a value, found the end of the program");
  }
}

TEST(ProgramText, DepthAndLength_AreBounded) {
  const auto is_program = [](const std::string& text) {
    return parse_program(text, ProgramKind::score, kTensors).program.has_value();
  };
  EXPECT_TRUE(is_program(std::string(60, '(') + "1" + std::string(60, ')')));
  EXPECT_FALSE(is_program(std::string(100, '(') + "1" + std::string(100, ')')));
  EXPECT_FALSE(is_program(std::string(100000, '(')));
  EXPECT_DOUBLE_EQ(value(std::string(4000, '-') + "1"), 1);
  EXPECT_DOUBLE_EQ(value(std::string(3999, '-') + "score", {.score = 2}), -2);
  std::string chain = "0";
  for (int i = 0; i < 1000; ++i) chain += "?1:0";
  EXPECT_FALSE(is_program(chain));
  EXPECT_FALSE(is_program(std::string(5000, ' ') + "1"));
}

TEST(ProgramLambda, DeepAndWideGraphs_AreRefusedOrShared) {
  Value sum = score_program("score").result();
  EXPECT_THROW(
      {
        for (int i = 0; i < 100000; ++i) sum = sum + 1.5;
      },
      Error);
  // 2^200 additions as a tree, 200 as a graph.
  const Program doubled = score_program([](Value score, Value, Value, Value, Value) {
    for (int i = 0; i < 100; ++i) score = score + score;
    return score;
  });
  EXPECT_EQ(evaluate({&doubled, nullptr, 0}, {.score = 1.0}), std::ldexp(1.0, 100));
  EXPECT_NE(doubled.text().find('\n'), std::string::npos);
  EXPECT_THROW(score_program([](Value score, Value, Value, Value q, Value kv) {
                 Value sum_of_all = score;
                 for (int i = 0; i < 1100; ++i) sum_of_all = sum_of_all + exp(q * (i + 1) - kv);
                 return sum_of_all;
               }),
               Error);
}

TEST(ProgramLambda, AndText_AreOneProgram) {
  const SymbolicTensor slopes("slopes");
  const Program lambda = score_program([&](Value score, Value, Value h, Value q, Value kv) {
    return where(q >= kv && q - kv < 128, score + slopes(h) * (kv - q), score * 0.5);
  });
  const Program text = score_program(
      "q >= kv && q - kv < 128 ? score + slopes[h] * (kv - q) : score * 0.5", {{"slopes"}});
  EXPECT_EQ(lambda.text(), text.text());
  EXPECT_EQ(lambda.tensors()[0].rank, 1);
  EXPECT_EQ(lambda.tensor_index("slopes"), 0);
  EXPECT_EQ(lambda.tensor_index("slope"), -1);
}

TEST(ProgramLambda, WrongTypes_Throw) {
  const SymbolicTensor table("table");
  EXPECT_THROW(table(Value(0.5)), Error);
  EXPECT_THROW(Value(int64_t{1} << 40), Error);
  EXPECT_THROW(score_program([&](Value score, Value, Value h, Value q, Value) {
                 return score + table(h) + table(h, q);
               }),
               Error);
  EXPECT_THROW(and_masks({score_program("score")}), Error);
}

TEST(ProgramLambda, Masks_Combine) {
  const Program causal = mask_program([](Value, Value, Value q, Value kv) { return q >= kv; });
  const Program near = mask_program("abs(q - kv) <= 1");
  const Program both = and_masks({causal, near}), either = or_masks({causal, near});
  EXPECT_EQ(both.text(), and_masks({mask_program("q >= kv"), near}).text());
  const auto sees = [](const Program& mask, int32_t q, int32_t kv) {
    return evaluate({&mask, nullptr, 0}, {.q = q, .kv = kv}) != 0.0;
  };
  EXPECT_FALSE(sees(both, 3, 4));
  EXPECT_TRUE(sees(either, 3, 4));
  EXPECT_FALSE(sees(both, 5, 1));
  EXPECT_TRUE(sees(either, 5, 1));
  EXPECT_TRUE(sees(and_masks({}), 0, 9));
  EXPECT_FALSE(sees(or_masks({}), 0, 0));
}

TEST(ProgramText, RandomTokens_NeverCrash) {
  const std::vector<std::string> tokens = {
      "score", "q",   "kv",  "h",   "(",   ")",      "[",  "]",     "+",   "-", "*",
      "/",     "%",   "<",   ">=",  "==",  "&&",     "||", "!",     "?",   ":", ",",
      "1",     "0.5", "min", "abs", "doc", "slopes", " ",  "where", "\xC3"};
  std::mt19937 random(7);
  int num_valid = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n-- > 0;) text += tokens[random() % tokens.size()];
    const ParsedProgram parsed = parse_program(text, ProgramKind::score, kTensors);
    ASSERT_NE(parsed.program.has_value(), parsed.fault.has_value()) << text;
    if (!parsed.program) continue;
    ++num_valid;
    evaluate({&*parsed.program, kBound, 3}, {.score = 0.5, .q = 3, .kv = 9});
  }
  EXPECT_GT(num_valid, 100);
}

}  // namespace
}  // namespace regard
