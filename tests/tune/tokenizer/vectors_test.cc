// Ids and texts against Hugging Face `tokenizers` and SentencePiece; see make_vectors.py beside the
// data.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/tune/tokenizer/tokenizer_files.h"
#include "tune/files/gguf.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {
namespace {

using nlohmann::json;
using test::data_path;
using test::read_json_lines;

void expect_vector(const Tokenizer& tokenizer, const json& row, const std::string& name) {
  const auto text = row.at("text").get<std::string>();
  const auto ids = row.at("ids").get<std::vector<int32_t>>();
  const bool add_special = row.value("add_special", false);
  EXPECT_EQ(tokenizer.encode(text, add_special), ids) << name << ": " << row.at("text");
  EXPECT_EQ(tokenizer.decode(ids, true), row.at("decoded").get<std::string>())
      << name << ": " << row.at("text");
}

json patched(const std::string& base, const json& patch) {
  json out = json::parse(test::read_text(data_path(base + "/tokenizer.json")));
  const std::string model_prefix = "model.";
  for (const auto& [key, value] : patch.items()) {
    if (key.starts_with(model_prefix)) {
      out["model"][key.substr(model_prefix.size())] = value;
    } else {
      out[key] = value;
    }
  }
  return out;
}

TEST(TokenizerJson, AllVectors_GiveTheIdsOfHuggingFace) {
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  const auto rows = read_json_lines("vectors.jsonl");
  ASSERT_GT(rows.size(), 800u);
  for (const json& row : rows) {
    const auto name = row.at("tokenizer").get<std::string>();
    auto& tokenizer = tokenizers[name];
    if (!tokenizer) tokenizer = load_tokenizer_json(data_path(name + "/tokenizer.json"));
    expect_vector(*tokenizer, row, name);
  }
  EXPECT_EQ(tokenizers.size(), 5u);
}

TEST(TokenizerJson, EveryPartExchanged_GivesTheIdsOfHuggingFace) {
  const auto rows = read_json_lines("parts.jsonl");
  ASSERT_GT(rows.size(), 30u);
  for (const json& row : rows) {
    const test::TempFolder folder;
    const json spec = patched(row.at("base").get<std::string>(), row.at("patch"));
    const auto tokenizer = load_tokenizer_json(folder.write("tokenizer.json", spec.dump()));
    for (const json& vector : row.at("cases")) {
      expect_vector(*tokenizer, vector, row.at("name").get<std::string>());
    }
  }
}

TEST(TokenizerJson, SavedAndLoaded_GivesTheSameIds) {
  for (const char* name : {"gpt2", "llama3", "qwen2", "smollm", "llama2"}) {
    const test::TempFolder folder;
    const auto original = load_tokenizer_json(data_path(std::string(name) + "/tokenizer.json"));
    original->save(folder.path());
    const auto again = load_tokenizer_json(folder.path() + "/tokenizer.json");
    EXPECT_EQ(again->fingerprint(), original->fingerprint()) << name;
    EXPECT_EQ(again->vocab_size(), original->vocab_size()) << name;
    for (const json& row : read_json_lines("vectors.jsonl")) {
      if (row.at("tokenizer") == name) expect_vector(*again, row, name);
    }
  }
}

TEST(TokenizerGguf, SentencePieceVocabulary_GivesTheIdsOfSentencePiece) {
  const auto file = GgufFile::open(data_path("sentencepiece.gguf"));
  const auto tokenizer = load_tokenizer_gguf(*file);
  const auto rows = read_json_lines("sentencepiece.jsonl");
  ASSERT_GT(rows.size(), 100u);
  for (const json& row : rows) expect_vector(*tokenizer, row, "sentencepiece");
  EXPECT_EQ(tokenizer->special().bos, 1);
  EXPECT_EQ(tokenizer->special().eos, 2);
  EXPECT_EQ(tokenizer->special().unk, 0);
  EXPECT_FALSE(tokenizer->special().pad.has_value());
  EXPECT_NE(tokenizer->chat_template().find("messages"), std::string::npos);
  const auto ids = tokenizer->encode("hello", true);
  ASSERT_GT(ids.size(), 1u);
  EXPECT_EQ(ids.front(), 1);
}

TEST(TokenizerGguf, SavedAsTokenizerJson_GivesTheSameIds) {
  const test::TempFolder folder;
  const auto file = GgufFile::open(data_path("sentencepiece.gguf"));
  const auto original = load_tokenizer_gguf(*file);
  original->save(folder.path());
  const auto again = load_tokenizer_json(folder.path() + "/tokenizer.json");
  EXPECT_EQ(again->special().bos, original->special().bos);
  EXPECT_EQ(again->chat_template(), original->chat_template());
  for (const json& row : read_json_lines("sentencepiece.jsonl")) {
    const auto text = row.at("text").get<std::string>();
    EXPECT_EQ(again->encode(text, true), original->encode(text, true)) << row.at("text");
  }
}

// The real model is not committed; REGARD_SMOLLM2_GGUF names SmolLM2-135M-Instruct.Q4_1.gguf.
TEST(TokenizerGguf, SmolLm2_GivesTheIdsOfHuggingFace) {
  const char* path = std::getenv("REGARD_SMOLLM2_GGUF");
  if (path == nullptr || !std::filesystem::exists(path)) {
    GTEST_SKIP() << "REGARD_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct's GGUF file";
  }
  const auto file = GgufFile::open(path);
  const auto tokenizer = load_tokenizer_gguf(*file);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->special().bos, 1);
  EXPECT_EQ(tokenizer->special().eos, 2);
  for (const json& row : read_json_lines("smollm2.jsonl")) {
    expect_vector(*tokenizer, row, "smollm2");
  }
}

}  // namespace
}  // namespace tune
