// BpeTokenizer: the steps of a tokenizer.json in their order, whatever file they came from.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tune/tokenizer/added_tokens.h"
#include "tune/tokenizer/bpe.h"
#include "tune/tokenizer/decoder.h"
#include "tune/tokenizer/post_processor.h"
#include "tune/tokenizer/pre_tokenizer.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// Everything a tokenizer is made of. The sections are kept as they are written in tokenizer.json
// (keys normalizer, pre_tokenizer, post_processor, decoder), so that saving loses nothing.
struct TokenizerParts {
  std::string file;  // for messages
  std::unique_ptr<const Bpe> model;
  std::vector<AddedToken> added_tokens;
  nlohmann::json sections = nlohmann::json::object();
  nlohmann::json config = nlohmann::json::object();              // tokenizer_config.json
  nlohmann::json special_tokens_map = nlohmann::json::object();  // special_tokens_map.json
  SpecialTokens special;
  std::string chat_template;
};

// The names of the special tokens in tokenizer_config.json, and their places.
struct SpecialRole {
  const char* key;  // "bos_token"
  std::optional<int32_t> SpecialTokens::*id;
};
std::span<const SpecialRole> special_roles();

class BpeTokenizer : public Tokenizer {
 public:
  // Throws UsageError for a section that is not supported.
  explicit BpeTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override;
  std::optional<int32_t> token_id(std::string_view token) const override;
  std::string_view token_text(int32_t id) const override;
  const SpecialTokens& special() const override { return parts_.special; }
  const std::string& chat_template() const override { return parts_.chat_template; }
  std::string fingerprint() const override;
  void save(const std::string& folder) const override;

  // Makes `content` an added token (its id is kept when there is one) and returns its id.
  int32_t add_token(const std::string& content, bool special);
  void set_special(const SpecialRole& role, const std::string& content);

 private:
  // Words seen before and their ids. One encode() at a time uses the kept one.
  using WordCache = std::unordered_map<std::string, std::vector<int32_t>>;

  void encode_stretch(std::string_view text, bool at_text_start, WordCache& cache,
                      std::vector<int32_t>& out) const;
  void encode_words(std::string_view text, bool at_text_start, WordCache& cache,
                    std::vector<int32_t>& out) const;
  void encode_word(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const;
  std::string tokenizer_json() const;
  nlohmann::json config_json() const;
  nlohmann::json special_tokens_json() const;

  TokenizerParts parts_;
  AddedTokens added_;
  std::unique_ptr<const Normalizer> normalizer_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  PostProcessor post_processor_;
  std::unique_ptr<const Decoder> decoder_;
  mutable std::mutex cache_mutex_;
  mutable WordCache cache_;
};

}  // namespace tune
