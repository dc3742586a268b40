// Bpe: byte-pair encoding of one word, the model inside a tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tune {

struct BpeOptions {
  std::optional<std::string> unk_token;
  bool byte_fallback =
      false;              // unknown characters become the tokens <0x00> .. <0xFF> of their bytes
  bool fuse_unk = false;  // neighbouring unknown characters become one unk_token
  bool ignore_merges = false;  // a word that is a token by itself is not built by merges
};

// Open addressing from a pair of ids to its merge; built once, then only read.
class MergeTable {
 public:
  struct Entry {
    uint64_t pair = kEmpty;
    uint32_t rank = 0;
    int32_t merged = 0;
  };
  explicit MergeTable(size_t count);
  // A pair that comes twice keeps its later rank, as in Hugging Face `tokenizers`.
  void put(int32_t left, int32_t right, uint32_t rank, int32_t merged);
  const Entry* find(int32_t left, int32_t right) const;

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  size_t slot(uint64_t pair) const;
  std::vector<Entry> entries_;
  size_t mask_ = 0;
};

class Bpe {
 public:
  using TokenPair = std::pair<int32_t, int32_t>;
  // tokens[id] is the text of id; ids without a token hold nullopt. merges[rank] joins two tokens
  // whose concatenation must be a token too. Throws UsageError naming the merge that is not.
  Bpe(std::vector<std::optional<std::string>> tokens, std::vector<TokenPair> merges,
      BpeOptions options);

  // Appends the ids of `word` (valid UTF-8). O(n log n) in its length.
  void encode(std::string_view word, std::vector<int32_t>& out) const;

  std::optional<int32_t> id(std::string_view token) const;
  const std::string* token(int32_t id) const;  // null when there is none
  int32_t end_id() const { return static_cast<int32_t>(tokens_.size()); }  // largest id + 1
  int32_t num_tokens() const { return static_cast<int32_t>(ids_.size()); }
  const std::vector<TokenPair>& merges() const { return merges_; }
  const BpeOptions& options() const { return options_; }

 private:
  void append_initial(std::string_view word, std::vector<int32_t>& out) const;
  bool append_bytes(std::string_view character, std::vector<int32_t>& out) const;
  std::optional<int32_t> character_id(std::string_view character) const;
  void merge(std::vector<int32_t>& ids) const;

  std::vector<std::optional<std::string>> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views into tokens_
  std::vector<TokenPair> merges_;
  MergeTable table_;
  BpeOptions options_;
  std::optional<int32_t> unk_id_;
  std::vector<int32_t> byte_ids_;   // of <0x00> .. <0xFF>, -1 where absent
  std::vector<int32_t> short_ids_;  // of the characters below U+0800, -1 where absent
};

}  // namespace tune
