// Random bytes, broken files and growing sequences: nothing crashes, nothing is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/tune/tokenizer/tokenizer_files.h"
#include "tune/error.h"
#include "tune/tokenizer/tokenizer.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

constexpr uint32_t kSeed = 20240607;

std::unique_ptr<Tokenizer> load(const char* name) {
  return load_tokenizer_json(test::data_path(std::string(name) + "/tokenizer.json"));
}

std::string random_bytes(std::mt19937& rng, size_t max_length) {
  std::string out(rng() % max_length, '\0');
  for (char& c : out) c = static_cast<char>(rng());
  return out;
}

// Characters of all planes, with more ASCII than anything else.
std::string random_text(std::mt19937& rng, size_t max_length) {
  std::string out;
  for (size_t left = rng() % max_length; left > 0; --left) {
    char32_t c = rng() % 3 != 0 ? rng() % 0x80 : rng() % 0x110000;
    if (c >= 0xD800 && c <= 0xDFFF) c = kReplacementCharacter;
    append_character(out, c);
  }
  return out;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder stream(tokenizer, false);
  std::string out;
  for (const int32_t id : ids) {
    const std::string piece = stream.push(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    out += piece;
  }
  return out + stream.finish();
}

TEST(TokenizerFuzz, ByteLevelText_SurvivesEncodingAndDecoding) {
  std::mt19937 rng(kSeed);
  for (const char* name : {"gpt2", "llama3", "smollm"}) {  // qwen2 normalizes
    const auto tokenizer = load(name);
    for (int i = 0; i < 2000; ++i) {
      const std::string text = random_text(rng, 80);
      const auto ids = tokenizer->encode(text, false);
      ASSERT_EQ(tokenizer->decode(ids, false), text) << name << " round " << i;
      ASSERT_EQ(streamed(*tokenizer, ids), text) << name << " round " << i;
    }
  }
}

TEST(TokenizerFuzz, RandomBytes_AreReadAsRepairedText) {
  std::mt19937 rng(kSeed);
  for (const char* name : {"gpt2", "llama3", "qwen2", "smollm", "llama2"}) {
    const auto tokenizer = load(name);
    for (int i = 0; i < 1000; ++i) {
      const std::string bytes = random_bytes(rng, 60);
      const auto ids = tokenizer->encode(bytes, true);
      ASSERT_EQ(ids, tokenizer->encode(to_valid_utf8(bytes), true));
      ASSERT_TRUE(std::all_of(ids.begin(), ids.end(),
                              [&](int32_t id) { return id >= 0 && id < tokenizer->vocab_size(); }));
    }
  }
}

TEST(TokenizerFuzz, RandomIds_DecodeToValidUtf8) {
  std::mt19937 rng(kSeed);
  for (const char* name : {"gpt2", "llama2"}) {
    const auto tokenizer = load(name);
    for (int i = 0; i < 1000; ++i) {
      std::vector<int32_t> ids(rng() % 30);
      for (int32_t& id : ids) id = static_cast<int32_t>(rng() % 3000) - 100;  // some do not exist
      ASSERT_TRUE(is_valid_utf8(tokenizer->decode(ids, false)));
      streamed(*tokenizer, ids);
    }
  }
}

TEST(StreamDecoder, TokensThatEndInsideCharacters_GiveEachCharacterOnce) {
  for (const char* name : {"gpt2", "llama3", "smollm", "llama2"}) {
    const auto tokenizer = load(name);
    std::string text = "Hi ";
    for (int i = 0; i < 200; ++i) text += "\xE6\xB3\xA8\xF0\x9F\x98\x80 x\xEF\xBF\xBD";
    const auto ids = tokenizer->encode(text, false);
    EXPECT_EQ(streamed(*tokenizer, ids), text) << name;
  }
}

TEST(StreamDecoder, UnfinishedCharacter_ComesOutAtTheEnd) {
  const auto tokenizer = load("smollm");
  auto ids = tokenizer->encode("a\xF0\x9F\x98\x80", false);
  ASSERT_GT(ids.size(), 2u);
  ids.pop_back();
  EXPECT_EQ(streamed(*tokenizer, ids), tokenizer->decode(ids, false));
}

// A tokenizer.json with random bytes changed, removed or doubled loads or says what is wrong.
TEST(TokenizerFuzz, DamagedFiles_LoadOrAreRefused) {
  std::mt19937 rng(kSeed);
  const test::TempFolder folder;
  nlohmann::json spec =
      nlohmann::json::parse(test::read_text(test::data_path("llama3/tokenizer.json")));
  nlohmann::json& model = spec["model"];
  model["vocab"] = {{"a", 5}, {"b", 6}, {"ab", 7}};
  model["merges"] = {"a b"};
  const std::string whole = spec.dump();
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = whole;
    for (size_t changes = 1 + rng() % 3; changes > 0; --changes) {
      const size_t at = rng() % damaged.size();
      switch (rng() % 4) {
        case 0:
          damaged[at] = static_cast<char>(rng());
          break;
        case 1:
          damaged.erase(at, 1 + rng() % 20);
          break;
        case 2:
          damaged.insert(at, damaged.substr(rng() % damaged.size(), rng() % 30));
          break;
        default:
          damaged.resize(at);
          damaged += ' ';
          break;
      }
      if (damaged.empty()) damaged = " ";
    }
    try {
      load_tokenizer_json(folder.write("tokenizer.json", damaged))->encode("ab <s>", true);
    } catch (const UsageError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
  EXPECT_LT(refused, 1000);
}

TEST(TokenizerFuzz, LongRuns_EndInTime) {
  const auto tokenizer = load("smollm");
  for (const char* part :
       {" ", "\n", "1", "a", "!", "\xCC\x81\xCC\x96", "\xE6\xB3\xA8", " \n", "\xFF"}) {
    std::string text;
    while (text.size() < 200'000) text += part;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false), false), to_valid_utf8(text));
  }
}

}  // namespace
}  // namespace tune
