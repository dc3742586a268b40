#include "tune/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tune/error.h"

namespace tune {
namespace {

using Tokens = std::vector<std::optional<std::string>>;

// The definition: join the neighbours with the lowest rank, the leftmost of equals, until none is
// left.
std::vector<int32_t> merge_by_definition(const std::vector<Bpe::TokenPair>& merges, const Bpe& bpe,
                                         std::vector<int32_t> ids) {
  while (true) {
    size_t best_rank = merges.size(), best_at = 0;
    for (size_t at = 0; at + 1 < ids.size(); ++at) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank] == Bpe::TokenPair{ids[at], ids[at + 1]}) {
          best_rank = rank;
          best_at = at;
        }
      }
    }
    if (best_rank == merges.size()) return ids;
    ids[best_at] = *bpe.id(*bpe.token(ids[best_at]) + *bpe.token(ids[best_at + 1]));
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

// A random vocabulary over the letters a to d.
std::pair<Tokens, std::vector<Bpe::TokenPair>> random_vocabulary(std::mt19937& rng) {
  Tokens tokens = {"a", "b", "c", "d"};
  std::vector<Bpe::TokenPair> merges;
  while (tokens.size() < 40) {
    const auto left = static_cast<int32_t>(rng() % tokens.size());
    const auto right = static_cast<int32_t>(rng() % tokens.size());
    const std::string text =
        *tokens[static_cast<size_t>(left)] + *tokens[static_cast<size_t>(right)];
    if (text.size() > 6 || std::find(tokens.begin(), tokens.end(), text) != tokens.end()) continue;
    tokens.emplace_back(text);
    merges.emplace_back(left, right);
  }
  return {tokens, merges};
}

TEST(Bpe, RandomVocabularies_MergeByDefinition) {
  std::mt19937 rng(17);
  for (int round = 0; round < 30; ++round) {
    const auto vocabulary = random_vocabulary(rng);
    const Bpe bpe(vocabulary.first, vocabulary.second, {});
    for (int word = 0; word < 30; ++word) {
      std::string text;
      std::vector<int32_t> letters;
      for (size_t i = 0; i < 1 + rng() % 40; ++i) {
        letters.push_back(static_cast<int32_t>(rng() % 4));
        text += static_cast<char>('a' + letters.back());
      }
      std::vector<int32_t> ids;
      bpe.encode(text, ids);
      EXPECT_EQ(ids, merge_by_definition(vocabulary.second, bpe, letters)) << text;
    }
  }
}

TEST(Bpe, EncodeBehindOtherIds_LeavesThemAlone) {
  const Bpe bpe({"a", "b", "ab"}, {{0, 1}}, {});
  std::vector<int32_t> ids = {0, 1};
  bpe.encode("aba", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2, 0}));
}

TEST(Bpe, UnknownCharacters_FuseOnlyWhenAsked) {
  BpeOptions options;
  options.unk_token = "<unk>";
  std::vector<int32_t> ids;
  Bpe({"<unk>", "a"}, {}, options).encode("xya\xC3\xA9", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 0, 1, 0}));
  options.fuse_unk = true;
  ids.clear();
  Bpe({"<unk>", "a"}, {}, options).encode("xya\xC3\xA9", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 0}));
}

TEST(Bpe, UnkTokenOutsideVocabulary_IsAClearError) {
  BpeOptions options;
  options.unk_token = "<unk>";
  std::vector<int32_t> ids;
  EXPECT_THROW(Bpe({"a"}, {}, options).encode("x", ids), UsageError);
}

TEST(Bpe, MergeWithoutItsToken_IsAClearError) {
  try {
    Bpe({"a", "b"}, {{0, 1}}, {});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("'ab' is not in the vocabulary"), std::string::npos);
  }
}

// Four times the length may take little more than four times the time; a quadratic merge takes 16
// times. The bound of 10 leaves room for noise.
TEST(Bpe, LongWord_TakesNearlyLinearTime) {
  std::mt19937 rng(5);
  const auto vocabulary = random_vocabulary(rng);
  const Bpe bpe(vocabulary.first, vocabulary.second, {});
  const auto seconds = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + rng() % 4);
    double best = 1e9;
    for (int round = 0; round < 3; ++round) {
      std::vector<int32_t> ids;
      const auto start = std::chrono::steady_clock::now();
      bpe.encode(text, ids);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      best = std::min(best, taken.count());
    }
    return best;
  };
  EXPECT_LT(seconds(200'000), 10 * seconds(50'000));
}

}  // namespace
}  // namespace tune
