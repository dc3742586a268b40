#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tune/error.h"
#include "tune/tokenizer/gguf_vocabulary.h"

namespace tune {
namespace {

using Ids = std::vector<int32_t>;

GgufVocabulary sentencepiece() {
  GgufVocabulary out;
  out.file = "model.gguf";
  out.model = "llama";
  out.tokens = {"<unk>",
                "<s>",
                "</s>",
                "<0x21>",
                "\xE2\x96\x81",
                "a",
                "b",
                "ab",
                "ba",
                "\xE2\x96\x81"
                "a"};
  out.scores = {0, 0, 0, 0, -9, -8, -7, -2, -1, -3};
  using enum GgufTokenType;
  out.types = {unknown, control, control, byte, normal, normal, normal, normal, normal, normal};
  out.special.bos = 1;
  out.special.eos = 2;
  out.special.unk = 0;
  return out;
}

std::string error_after(const std::function<void(GgufVocabulary&)>& change) {
  GgufVocabulary vocabulary = sentencepiece();
  change(vocabulary);
  try {
    make_gguf_tokenizer(vocabulary);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(GgufTokenizer, HighestScore_MergesFirst) {
  const auto tokenizer = make_gguf_tokenizer(sentencepiece());
  // "_aba": ba (-1) goes before ab (-2) and _a (-3).
  EXPECT_EQ(tokenizer->encode("aba", false), (Ids{9, 8}));
  EXPECT_EQ(tokenizer->encode("ab", true), (Ids{1, 4, 7}));
  EXPECT_EQ(tokenizer->encode("!?", false), (Ids{4, 3, 0}));
  EXPECT_EQ(tokenizer->decode(Ids{9, 8}, true), "aba");
}

TEST(GgufTokenizer, Flags_AreObeyed) {
  GgufVocabulary vocabulary = sentencepiece();
  vocabulary.add_bos = false;
  vocabulary.add_eos = true;
  vocabulary.add_space_prefix = false;
  const auto tokenizer = make_gguf_tokenizer(vocabulary);
  EXPECT_EQ(tokenizer->encode("ab", true), (Ids{7, 2}));
  EXPECT_EQ(tokenizer->decode(Ids{9, 7}, true), " aab");
}

TEST(GgufTokenizer, SpecialTokensInText_AreFound) {
  const auto tokenizer = make_gguf_tokenizer(sentencepiece());
  EXPECT_EQ(tokenizer->encode("ab</s>", false), (Ids{4, 7, 2}));
  EXPECT_EQ(tokenizer->decode(Ids{4, 7, 2}, true), "ab");
}

TEST(GgufTokenizer, WhatDoesNotFit_IsAClearError) {
  using testing::HasSubstr;
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.model = "t5"; }),
              HasSubstr("tokenizer.ggml.model is 't5'; supported are gpt2"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.scores.pop_back(); }), HasSubstr("scores"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.scores.clear(); }), HasSubstr("missing"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.types.pop_back(); }), HasSubstr("token_type"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.special.pad = 10; }), HasSubstr("pad_token"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) { v.tokens.clear(); }), HasSubstr("no tokenizer"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) {
                v.model = "gpt2";
                v.pre = "odd";
              }),
              HasSubstr("tokenizer.ggml.pre is 'odd'; supported are default"));
  EXPECT_THAT(error_after([](GgufVocabulary& v) {
                v.model = "gpt2";
                v.pre = "gpt-2";
                v.merges = {"a x"};
              }),
              HasSubstr("'a x' does not join"));
}

// Every byte as itself, nothing merged: the words show as the tokens that ignore_merges finds.
TEST(GgufTokenizer, PreTokenizers_CutDigitsTheirWay) {
  const auto num_tokens = [](const char* pre) {
    GgufVocabulary vocabulary;
    vocabulary.file = "model.gguf";
    vocabulary.model = "gpt2";
    vocabulary.pre = pre;
    vocabulary.tokens = {"1", "2", "3", "4", "12", "123", "1234"};
    vocabulary.merges = {"1 2", "12 3", "123 4"};
    return make_gguf_tokenizer(vocabulary)->encode("1234", false).size();
  };
  EXPECT_EQ(num_tokens("gpt-2"), 1u);
  EXPECT_EQ(num_tokens("llama-bpe"), 2u);
  EXPECT_EQ(num_tokens("qwen2"), 4u);
  EXPECT_EQ(num_tokens("smollm"), 4u);
  EXPECT_EQ(num_tokens("tekken"), 4u);
}

}  // namespace
}  // namespace tune
