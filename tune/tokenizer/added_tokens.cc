#include "tune/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

bool touches_word_before(std::string_view text, size_t pos) {
  return pos > 0 && is_word(previous_character(text, pos));
}

bool touches_word_behind(std::string_view text, size_t pos) {
  return pos < text.size() && is_word(next_character(text, pos));
}

size_t skip_space_before(std::string_view text, size_t pos, size_t limit) {
  while (pos > limit) {
    size_t before = pos;
    if (!is_whitespace(previous_character(text, before))) break;
    pos = before;
  }
  return pos;
}

size_t skip_space_behind(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t behind = pos;
    if (!is_whitespace(next_character(text, behind))) break;
    pos = behind;
  }
  return pos;
}

}  // namespace

void TextTrie::put(std::string_view text, int32_t value) {
  if (text.empty()) return;
  can_start_[static_cast<unsigned char>(text.front())] = true;
  uint32_t at = 0;
  for (const char c : text) {
    const auto next = nodes_[at].next.find(c);
    if (next != nodes_[at].next.end()) {
      at = next->second;
      continue;
    }
    const auto created = static_cast<uint32_t>(nodes_.size());
    nodes_[at].next.emplace(c, created);
    nodes_.emplace_back();
    at = created;
  }
  nodes_[at].value = value;
}

TextTrie::Found TextTrie::longest_at(std::string_view text, size_t start) const {
  Found found;
  if (!can_start_[static_cast<unsigned char>(text[start])]) return found;
  uint32_t at = 0;
  for (size_t pos = start; pos < text.size(); ++pos) {
    const auto next = nodes_[at].next.find(text[pos]);
    if (next == nodes_[at].next.end()) break;
    at = next->second;
    if (nodes_[at].value >= 0) found = {nodes_[at].value, pos + 1 - start};
  }
  return found;
}

void AddedTokens::put(AddedToken token) {
  const auto old = by_id_.find(token.id);
  if (old != by_id_.end()) by_content_.erase(old->second.content);
  by_content_[token.content] = token.id;
  const int32_t id = token.id;
  by_id_[id] = std::move(token);
}

void AddedTokens::index(const Normalizer* normalizer) {
  raw_ = {};
  normalized_ = {};
  for (auto& [id, token] : by_id_) {
    token.searched = token.content;
    if (token.normalized && normalizer != nullptr) normalizer->apply(token.searched);
    (token.normalized ? normalized_ : raw_).put(token.searched, id);
  }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : find(found->second);
}

int32_t AddedTokens::end_id() const { return by_id_.empty() ? 0 : by_id_.rbegin()->first + 1; }

std::vector<Stretch> AddedTokens::split(std::string_view text, const TextTrie& trie) const {
  if (trie.empty() || text.empty()) return {{0, text.size(), nullptr}};
  std::vector<Stretch> out;
  size_t done = 0, pos = 0;
  while (pos < text.size()) {
    const auto [id, length] = trie.longest_at(text, pos);
    if (length == 0) {
      ++pos;
      continue;
    }
    const AddedToken* token = find(id);
    size_t begin = pos, end = pos + length;
    pos = end;
    if (token->single_word &&
        (touches_word_before(text, begin) || touches_word_behind(text, end))) {
      continue;
    }
    // White space taken by the token before this one stays with it.
    begin = std::max(begin, done);
    if (token->lstrip) begin = skip_space_before(text, begin, done);
    if (token->rstrip) end = skip_space_behind(text, end);
    if (begin > done) out.push_back({done, begin, nullptr});
    out.push_back({begin, std::max(end, done), token});
    done = std::max(end, done);
  }
  if (done < text.size()) out.push_back({done, text.size(), nullptr});
  return out;
}

}  // namespace tune
