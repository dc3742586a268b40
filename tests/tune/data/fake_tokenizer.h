// A tokenizer simple enough to write ids down by hand: a byte is its own id, listed special tokens
// are 256, 257, ... and listed pairs of bytes ("merges") one id each behind them, longest first.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tune/tokenizer/tokenizer.h"

namespace tune {

class FakeTokenizer : public Tokenizer {
 public:
  FakeTokenizer(std::vector<std::string> specials, std::vector<std::string> merges = {})
      : specials_(std::move(specials)), merges_(std::move(merges)) {}

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens && adds_bos) ids.push_back(*special_.bos);
    while (!text.empty()) {
      if (take(text, specials_, 256, ids)) continue;
      if (take(text, merges_, 256 + specials_.size(), ids)) continue;
      ids.push_back(static_cast<unsigned char>(text.front()));
      text.remove_prefix(1);
    }
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string text;
    for (int32_t id : ids) {
      const bool is_special = id >= 256 && id < 256 + static_cast<int32_t>(specials_.size());
      if (!(is_special && skip_special_tokens)) text += text_of(id);
    }
    return text;
  }

  int32_t vocab_size() const override {
    return static_cast<int32_t>(256 + specials_.size() + merges_.size());
  }

  std::optional<int32_t> token_id(std::string_view token) const override {
    const auto found = std::find(specials_.begin(), specials_.end(), token);
    if (found == specials_.end()) return std::nullopt;
    return static_cast<int32_t>(256 + (found - specials_.begin()));
  }

  std::string_view token_text(int32_t id) const override {
    return specials_.at(static_cast<size_t>(id - 256));
  }
  const SpecialTokens& special() const override { return special_; }
  const std::string& chat_template() const override { return chat_template_; }
  std::string fingerprint() const override { return fingerprint_; }
  void save(const std::string&) const override {}

  SpecialTokens special_;
  std::string chat_template_, fingerprint_ = "fake";
  bool adds_bos = false;

 private:
  static bool take(std::string_view& text, const std::vector<std::string>& tokens, size_t first_id,
                   std::vector<int32_t>& ids) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!text.starts_with(tokens[i])) continue;
      ids.push_back(static_cast<int32_t>(first_id + i));
      text.remove_prefix(tokens[i].size());
      return true;
    }
    return false;
  }

  std::string text_of(int32_t id) const {
    if (id < 256) return std::string(1, static_cast<char>(id));
    const auto index = static_cast<size_t>(id - 256);
    return index < specials_.size() ? specials_[index] : merges_.at(index - specials_.size());
  }

  std::vector<std::string> specials_, merges_;
};

// ids and a mask that reads like the text: '^' below trained characters.
inline std::string trained_text(const std::vector<int32_t>& ids, const std::vector<int32_t>& labels,
                                const Tokenizer& tokenizer) {
  std::vector<int32_t> trained;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (labels[i] == ids[i]) trained.push_back(ids[i]);
  }
  return tokenizer.decode(trained, false);
}

}  // namespace tune
