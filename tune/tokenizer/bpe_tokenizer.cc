#include "tune/tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tune/error.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

// Longer words are rare and cheap to merge again; 2^16 words of at most 64 bytes stay below 16 MB.
constexpr size_t kMaxCachedWord = 64;
constexpr size_t kMaxCachedWords = size_t{1} << 16;

constexpr std::array<SpecialRole, 4> kSpecialRoles = {{
    {"bos_token", &SpecialTokens::bos},
    {"eos_token", &SpecialTokens::eos},
    {"unk_token", &SpecialTokens::unk},
    {"pad_token", &SpecialTokens::pad},
}};

}  // namespace

std::span<const SpecialRole> special_roles() { return kSpecialRoles; }

BpeTokenizer::BpeTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  const JsonNode sections(parts_.sections, parts_.file);
  normalizer_ = make_normalizer(sections.child("normalizer"));
  pre_tokenizer_ = make_pre_tokenizer(sections.child("pre_tokenizer"));
  post_processor_ = make_post_processor(sections.child("post_processor"));
  decoder_ = make_decoder(sections.child("decoder"));
  for (AddedToken& token : parts_.added_tokens) added_.put(std::move(token));
  parts_.added_tokens.clear();
  added_.index(normalizer_.get());
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  const std::unique_lock lock(cache_mutex_, std::try_to_lock);
  WordCache own;
  WordCache& cache = lock.owns_lock() ? cache_ : own;
  std::vector<int32_t> out;
  if (add_special_tokens) out = post_processor_.before;
  for (const Stretch& stretch : added_.split_raw(text)) {
    if (stretch.token != nullptr) {
      out.push_back(stretch.token->id);
    } else {
      encode_stretch(text.substr(stretch.begin, stretch.end - stretch.begin), stretch.begin == 0,
                     cache, out);
    }
  }
  if (add_special_tokens) {
    out.insert(out.end(), post_processor_.after.begin(), post_processor_.after.end());
  }
  return out;
}

// A stretch of raw text between added tokens: normalized, then searched for the added tokens that
// are written in normalized form.
void BpeTokenizer::encode_stretch(std::string_view text, bool at_text_start, WordCache& cache,
                                  std::vector<int32_t>& out) const {
  std::string normalized;
  if (normalizer_ != nullptr) {
    normalized = text;
    normalizer_->apply(normalized);
    text = normalized;
  }
  for (const Stretch& stretch : added_.split_normalized(text)) {
    if (stretch.token != nullptr) {
      out.push_back(stretch.token->id);
    } else {
      encode_words(text.substr(stretch.begin, stretch.end - stretch.begin),
                   at_text_start && stretch.begin == 0, cache, out);
    }
  }
}

void BpeTokenizer::encode_words(std::string_view text, bool at_text_start, WordCache& cache,
                                std::vector<int32_t>& out) const {
  if (pre_tokenizer_ == nullptr) return encode_word(text, cache, out);
  Pieces pieces{std::string(text), {{0, text.size(), at_text_start}}};
  pre_tokenizer_->apply(pieces);
  for (const Piece& piece : pieces.pieces) encode_word(pieces.view(piece), cache, out);
}

void BpeTokenizer::encode_word(std::string_view word, WordCache& cache,
                               std::vector<int32_t>& out) const {
  if (word.size() > kMaxCachedWord) return parts_.model->encode(word, out);
  std::string key(word);
  auto entry = cache.find(key);
  if (entry == cache.end()) {
    std::vector<int32_t> ids;
    parts_.model->encode(word, ids);
    if (cache.size() >= kMaxCachedWords) cache.clear();
    entry = cache.emplace(std::move(key), std::move(ids)).first;
  }
  out.insert(out.end(), entry->second.begin(), entry->second.end());
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const AddedToken* added = added_.find(id);
    const std::string* text = added != nullptr ? &added->searched : parts_.model->token(id);
    if (text == nullptr) continue;  // rows of the embedding that no token has
    if (skip_special_tokens) {
      if (added == nullptr) added = added_.find(std::string_view(*text));
      if (added != nullptr && added->special) continue;
    }
    tokens.push_back(*text);
  }
  std::string out;
  if (decoder_ != nullptr) decoder_->apply(tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (decoder_ == nullptr && i > 0) out.push_back(' ');
    out.append(tokens[i]);
  }
  return out;
}

int32_t BpeTokenizer::vocab_size() const {
  return std::max(parts_.model->end_id(), added_.end_id());
}

std::optional<int32_t> BpeTokenizer::token_id(std::string_view token) const {
  if (const AddedToken* added = added_.find(token)) return added->id;
  return parts_.model->id(token);
}

std::string_view BpeTokenizer::token_text(int32_t id) const {
  if (const AddedToken* added = added_.find(id)) return added->content;
  const std::string* text = parts_.model->token(id);
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

int32_t BpeTokenizer::add_token(const std::string& content, bool special) {
  if (content.empty()) throw UsageError("a token to add is empty; write its text");
  if (!is_valid_utf8(content)) throw UsageError("a token to add is not valid UTF-8");
  AddedToken token;
  token.content = content;
  token.normalized = false;
  if (const AddedToken* known = added_.find(std::string_view(content))) {
    token = *known;
  } else if (const auto id = parts_.model->id(content)) {
    token.id = *id;
  } else {
    // The numbering of Hugging Face `tokenizers`, so that a saved file gives the same ids there.
    const int32_t count = parts_.model->num_tokens();
    token.id = added_.end_id() > count ? added_.end_id() : count;
    if (parts_.model->token(token.id) != nullptr) token.id = vocab_size();
  }
  token.special = token.special || special;
  added_.put(token);
  added_.index(normalizer_.get());
  return token.id;
}

void BpeTokenizer::set_special(const SpecialRole& role, const std::string& content) {
  parts_.special.*role.id = add_token(content, true);
}

}  // namespace tune
