// Files that do not fit, and the small files beside tokenizer.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/tune/tokenizer/tokenizer_files.h"
#include "tune/error.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {
namespace {

using nlohmann::json;
using test::TempFolder;

json small_spec() {
  return json::parse(R"({
    "added_tokens": [{"id": 4, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}})");
}

std::string error_of(const std::string& content) {
  const TempFolder folder;
  const std::string path = folder.write("tokenizer.json", content);
  try {
    load_tokenizer_json(path);
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

std::string error_after(const std::function<void(json&)>& change) {
  json spec = small_spec();
  change(spec);
  return error_of(spec.dump());
}

TEST(TokenizerJsonErrors, SmallSpec_IsFine) {
  EXPECT_EQ(error_of(small_spec().dump()), "no error");
}

TEST(TokenizerJsonErrors, NoJson_NamesLineAndReason) {
  EXPECT_THAT(error_of(""), testing::HasSubstr("empty"));
  EXPECT_THAT(error_of("{\n\"model\": {,}\n}"), testing::HasSubstr(":2: not valid JSON"));
  EXPECT_THAT(error_of(std::string("\x00\x01\x02\xFF", 4)), testing::HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("[1, 2]"), testing::HasSubstr("must be a JSON object"));
  EXPECT_THAT(error_of(std::string(100'000, '[')), testing::HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{\"model\": \"\\ud800\"}"), testing::HasSubstr("not valid JSON"));
}

TEST(TokenizerJsonErrors, UnknownTypes_ListWhatIsSupported) {
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"normalizer", "NFC, NFD"},
      {"pre_tokenizer", "ByteLevel, Split"},
      {"post_processor", "TemplateProcessing"},
      {"decoder", "ByteFallback"}};
  for (const auto& [section, supported] : expected) {
    const std::string key = section;
    const std::string message = error_after([&](json& spec) {
      spec[key] = {{"type", "Nonsense"}};
    });
    EXPECT_THAT(message, testing::HasSubstr(section + ": type 'Nonsense' is not supported"));
    EXPECT_THAT(message, testing::HasSubstr(supported));
  }
  EXPECT_THAT(error_after([](json& spec) { spec["model"]["type"] = "Unigram"; }),
              testing::HasSubstr("model: type 'Unigram' is not supported; supported are BPE"));
  const json nested = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Odd"}}}}};
  EXPECT_THAT(error_after([&](json& spec) { spec["pre_tokenizer"] = nested; }),
              testing::HasSubstr("pre_tokenizer.pretokenizers[0]: type 'Odd'"));
}

TEST(TokenizerJsonErrors, WrongModels_NameTheEntry) {
  using testing::HasSubstr;
  EXPECT_THAT(error_after([](json& s) { s.erase("model"); }), HasSubstr("model"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["vocab"] = 3; }), HasSubstr("model.vocab"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["vocab"]["b"] = 0; }), HasSubstr("both have"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["vocab"]["b"] = -1; }), HasSubstr("-1"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["vocab"]["b"] = 4'000'000'000u; }),
              HasSubstr("4000000000 is no id"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["vocab"]["b"] = "x"; }), HasSubstr("integer"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["merges"] = {"a z"}; }),
              HasSubstr("entry 0 joins 'z'"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["merges"] = {"a c"}; }),
              HasSubstr("'ac' is not in the vocabulary"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["merges"] = {"abc"}; }), HasSubstr("entry 0"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["merges"] = {7}; }), HasSubstr("entry 0 is 7"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["merges"] = "a b"; }), HasSubstr("array"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["dropout"] = 0.1; }), HasSubstr("dropout"));
  EXPECT_THAT(error_after([](json& s) { s["model"]["end_of_word_suffix"] = "</w>"; }),
              HasSubstr("'</w>' is not supported"));
}

TEST(TokenizerJsonErrors, WrongSections_NameTheKey) {
  using testing::HasSubstr;
  EXPECT_THAT(error_after([](json& s) { s["added_tokens"][0]["id"] = 1; }),
              HasSubstr("'<s>' has the id 1, which is 'b'"));
  EXPECT_THAT(error_after([](json& s) { s["added_tokens"][0].erase("content"); }),
              HasSubstr("added_tokens[0].content"));
  EXPECT_THAT(error_after([](json& s) {
                s["pre_tokenizer"] = {
                    {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
              }),
              HasSubstr("regular expression '(a'"));
  EXPECT_THAT(error_after([](json& s) {
                s["pre_tokenizer"] = {
                    {"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Odd"}};
              }),
              HasSubstr("'Odd' is no behavior"));
  EXPECT_THAT(error_after([](json& s) {
                s["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "x"}};
              }),
              HasSubstr("allowed are always, first, never"));
  EXPECT_THAT(error_after([](json& s) { s["pre_tokenizer"] = 5; }), HasSubstr("pre_tokenizer"));
  EXPECT_THAT(error_after([](json& s) {
                s["post_processor"] = {{"type", "TemplateProcessing"},
                                       {"single", {{{"SpecialToken", {{"id", "<x>"}}}}}},
                                       {"special_tokens", json::object()}};
              }),
              HasSubstr("'<x>', which is not listed"));
}

TEST(TokenizerJson, SpecialTokens_AreReadFromBothFiles) {
  const TempFolder folder;
  const std::string path = folder.write("tokenizer.json", small_spec().dump());
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": null,
                   "chat_template": [{"name": "tool", "template": "T"},
                                     {"name": "default", "template": "D"}]})");
  folder.write("special_tokens_map.json", R"({"bos_token": "a", "pad_token": "c"})");
  const auto tokenizer = load_tokenizer_json(path);
  EXPECT_EQ(tokenizer->special().bos, 4);
  EXPECT_EQ(tokenizer->special().pad, 3);
  EXPECT_FALSE(tokenizer->special().eos.has_value());
  EXPECT_EQ(tokenizer->chat_template(), "D");
}

TEST(TokenizerJson, JinjaFile_WinsOverTheKey) {
  const TempFolder folder;
  const std::string path = folder.write("tokenizer.json", small_spec().dump());
  folder.write("tokenizer_config.json", R"({"chat_template": "key"})");
  EXPECT_EQ(load_tokenizer_json(path)->chat_template(), "key");
  folder.write("chat_template.jinja", "file");
  EXPECT_EQ(load_tokenizer_json(path)->chat_template(), "file");
}

TEST(TokenizerJson, BosFlag_CountsOnlyWithoutPostProcessor) {
  const TempFolder folder;
  const std::string path = folder.write("tokenizer.json", small_spec().dump());
  folder.write(
      "tokenizer_config.json",
      R"({"bos_token": "c", "add_bos_token": true, "eos_token": "b", "add_eos_token": true})");
  EXPECT_EQ(load_tokenizer_json(path)->encode("a", true), (std::vector<int32_t>{3, 0, 1}));
  EXPECT_EQ(load_tokenizer_json(path)->encode("a", false), (std::vector<int32_t>{0}));
  json spec = small_spec();
  spec["post_processor"] = {{"type", "ByteLevel"}};
  folder.write("tokenizer.json", spec.dump());
  EXPECT_EQ(load_tokenizer_json(path)->encode("a", true), (std::vector<int32_t>{0}));
}

TEST(ApplyChanges, NewTokens_AreAppendedAndSaved) {
  const TempFolder folder;
  const std::string path = test::data_path("smollm/tokenizer.json");
  const auto original = load_tokenizer_json(path);
  const int32_t size = original->vocab_size();
  TokenizerChanges changes;
  changes.special_tokens = {{"pad_token", "<|pad|>"}, {"eos_token", "<|im_end|>"}};
  changes.tokens = {"<think>", "</think>"};
  const auto changed = apply_changes(load_tokenizer_json(path), changes);
  EXPECT_EQ(changed->vocab_size(), size + 3);
  EXPECT_EQ(changed->special().pad, size);
  EXPECT_EQ(changed->special().eos, original->token_id("<|im_end|>"));
  EXPECT_EQ(changed->token_id("<think>"), size + 1);
  EXPECT_NE(changed->fingerprint(), original->fingerprint());
  const auto ids = changed->encode("a<think>b<|pad|>", false);
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(changed->decode(ids, true), "a<think>b");
  EXPECT_EQ(changed->decode(ids, false), "a<think>b<|pad|>");

  changed->save(folder.path());
  const auto again = load_tokenizer_json(folder.path() + "/tokenizer.json");
  EXPECT_EQ(again->encode("a<think>b<|pad|>", false), ids);
  EXPECT_EQ(again->special().pad, size);
  EXPECT_EQ(again->special().eos, changed->special().eos);
}

TEST(ApplyChanges, ExistingToken_IsOnlyMarked) {
  TokenizerChanges changes;
  changes.special_tokens = {{"pad_token", "<|im_end|>"}};
  const auto original = load_tokenizer_json(test::data_path("smollm/tokenizer.json"));
  const auto changed =
      apply_changes(load_tokenizer_json(test::data_path("smollm/tokenizer.json")), changes);
  EXPECT_EQ(changed->vocab_size(), original->vocab_size());
  EXPECT_EQ(changed->special().pad, original->token_id("<|im_end|>"));
}

TEST(ApplyChanges, WrongKeysAndEmptyTexts_AreClearErrors) {
  const std::string path = test::data_path("smollm/tokenizer.json");
  for (const TokenizerChanges& changes :
       {TokenizerChanges{{{"cls_token", "x"}}, {}}, TokenizerChanges{{{"pad_token", ""}}, {}},
        TokenizerChanges{{}, {""}}}) {
    EXPECT_THROW(apply_changes(load_tokenizer_json(path), changes), UsageError);
  }
}

TEST(Save, UnwritableFolder_IsAClearError) {
  const TempFolder folder;
  const auto tokenizer = load_tokenizer_json(test::data_path("smollm/tokenizer.json"));
  const std::string file = folder.write("taken", "");
  EXPECT_THROW(tokenizer->save(file + "/below"), Error);
}

}  // namespace
}  // namespace tune
