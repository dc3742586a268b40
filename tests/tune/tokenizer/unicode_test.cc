#include "tune/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "tune/error.h"
#include "tune/tokenizer/pattern.h"

namespace tune {
namespace {

const std::string kBad = "\xEF\xBF\xBD";

TEST(ToValidUtf8, MaximalSubparts_BecomeOneReplacementEach) {
  // Table 3-8 of The Unicode Standard: the truncated sequences of <61 F1 80 80 E1 80 C2 62 80 63>.
  EXPECT_EQ(to_valid_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63"),
            "a" + kBad + kBad + kBad + "b" + kBad + "c");
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), kBad + kBad);             // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), kBad + kBad + kBad);  // surrogate
  EXPECT_EQ(to_valid_utf8("\xF4\x90\x80\x80"), kBad + kBad + kBad + kBad);
  EXPECT_EQ(to_valid_utf8("\xE2\x82"), kBad);
}

TEST(ToValidUtf8, ValidText_IsUnchanged) {
  const std::string text("a\0\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", 15);
  EXPECT_TRUE(is_valid_utf8(text));
  EXPECT_EQ(to_valid_utf8(text), text);
}

TEST(Characters, EveryScalarValue_SurvivesEncoding) {
  for (char32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 61) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_character(text, c);
    ASSERT_TRUE(is_valid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    size_t pos = 0;
    ASSERT_EQ(next_character(text, pos), c);
    ASSERT_EQ(pos, text.size());
    ASSERT_EQ(previous_character(text, pos), c);
    ASSERT_EQ(pos, 0u);
  }
}

TEST(NormalizeText, KnownForms_AreReached) {
  EXPECT_EQ(normalize_text("e\xCC\x81", NormalForm::nfc), "\xC3\xA9");
  EXPECT_EQ(normalize_text("\xC3\xA9", NormalForm::nfd), "e\xCC\x81");
  EXPECT_EQ(normalize_text("\xEF\xAC\x81", NormalForm::nfkc), "fi");
  EXPECT_EQ(normalize_text("\xEF\xAC\x81", NormalForm::nfc), "\xEF\xAC\x81");
  EXPECT_EQ(normalize_text("a\xCC\x81\xCC\x96", NormalForm::nfd), "a\xCC\x96\xCC\x81");
  EXPECT_EQ(lower_case("\xC4\xB0\xC3\x89 A"), "i\xCC\x87\xC3\xA9 a");
}

TEST(Pattern, OnigurumaEscapes_KeepTheirMeaning) {
  // U+180E is no white space to Oniguruma, U+0085 is; a combining mark belongs to \w.
  EXPECT_TRUE(Pattern::regex(R"(\s)").find_all("\xE1\xA0\x8E").empty());
  EXPECT_EQ(Pattern::regex(R"([\s])").find_all("\xC2\x85").size(), 1u);
  EXPECT_EQ(Pattern::regex(R"(\w+)").find_all("e\xCC\x81").size(), 1u);
  EXPECT_EQ(Pattern::regex(R"([\[]\s)").find_all("[ ").size(), 1u);
  EXPECT_EQ(Pattern::regex(R"([]\s]+)").find_all("] ").at(0).end, 2u);
  EXPECT_EQ(Pattern::regex(R"(\u00e9)").find_all("\xC3\xA9").size(), 1u);
}

TEST(Pattern, EmptyMatches_AreLeftOut) {
  const auto matches = Pattern::regex("a*").find_all(
      "b\xC3\xA9"
      "aab");
  ASSERT_EQ(matches.size(), 1u);
  EXPECT_EQ(matches[0].begin, 3u);
  EXPECT_EQ(matches[0].end, 5u);
  EXPECT_TRUE(Pattern::literal("").find_all("abc").empty());
}

TEST(Pattern, BrokenExpression_IsAClearError) {
  EXPECT_THROW(Pattern::regex("(a"), UsageError);
  EXPECT_THROW(Pattern::regex("[a-z&&[^b]]"), UsageError);
}

TEST(Pattern, CatastrophicExpression_IsGivenUp) {
  const Pattern pattern = Pattern::regex("(a|aa|a+)+[xy]");
  EXPECT_THROW(pattern.find_all(std::string(60, 'a') + "b"), Error);
}

}  // namespace
}  // namespace tune
