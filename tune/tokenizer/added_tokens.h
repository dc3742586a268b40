// AddedTokens: texts that become one id each wherever they stand, before any other rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tune/tokenizer/normalizer.h"

namespace tune {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // left out when decoding with skip_special_tokens
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = true;    // looked for in the normalized text, not in the raw one
  std::string searched;      // content as it is looked for and decoded; set by index()
};

// Texts of which the longest is found at each place; a trie over bytes.
class TextTrie {
 public:
  void put(std::string_view text, int32_t value);  // an empty text is ignored
  bool empty() const { return nodes_.size() == 1; }
  // The longest text that begins at `start`: its value and length, or length 0.
  struct Found {
    int32_t value = 0;
    size_t length = 0;
  };
  Found longest_at(std::string_view text, size_t start) const;

 private:
  struct Node {
    std::map<char, uint32_t> next;
    int32_t value = -1;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool can_start_[256] = {};
};

// A stretch of a text: an added token, or text between two (token == nullptr).
struct Stretch {
  size_t begin = 0, end = 0;
  const AddedToken* token = nullptr;
};

class AddedTokens {
 public:
  // Adds or replaces by id; call index() when all are in.
  void put(AddedToken token);
  void index(const Normalizer* normalizer);

  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;
  const std::map<int32_t, AddedToken>& by_id() const { return by_id_; }
  int32_t end_id() const;  // largest id + 1, 0 when there are none

  // The stretches of a raw text (tokens with normalized == false), and those of a normalized text
  // (the others). They cover the text without gaps; an empty text is one empty stretch.
  std::vector<Stretch> split_raw(std::string_view text) const { return split(text, raw_); }
  std::vector<Stretch> split_normalized(std::string_view text) const {
    return split(text, normalized_);
  }

 private:
  std::vector<Stretch> split(std::string_view text, const TextTrie& trie) const;

  std::map<int32_t, AddedToken> by_id_;
  std::map<std::string, int32_t, std::less<>> by_content_;
  TextTrie raw_, normalized_;
};

}  // namespace tune
