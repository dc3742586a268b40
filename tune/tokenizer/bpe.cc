#include "tune/tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>

#include "tune/error.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Symbols of a word as a doubly linked list over an array; a symbol that was merged away is dead.
struct Symbol {
  int32_t id = 0;
  bool dead = false;
  uint32_t previous = 0, next = 0;
};
constexpr uint32_t kNone = ~uint32_t{0};

struct Candidate {
  uint32_t rank = 0, position = 0;
  int32_t merged = 0;
  // The queue gives its greatest first: lowest rank, then leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

// A word of n symbols pushes fewer than 3n candidates; this keeps positions in 32 bits.
constexpr size_t kMaxSymbols = size_t{1} << 30;

std::string byte_token(unsigned value) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return std::string("<0x") + kHex[value >> 4] + kHex[value & 15] + ">";
}

}  // namespace

MergeTable::MergeTable(size_t count)
    : entries_(std::bit_ceil(std::max<size_t>(16, 2 * count))), mask_(entries_.size() - 1) {}

size_t MergeTable::slot(uint64_t pair) const {
  // Fibonacci hashing spreads neighbouring ids over the table.
  size_t at = static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> 20) & mask_;
  while (entries_[at].pair != pair && entries_[at].pair != kEmpty) at = (at + 1) & mask_;
  return at;
}

void MergeTable::put(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
  const uint64_t pair = pair_key(left, right);
  entries_[slot(pair)] = {pair, rank, merged};
}

const MergeTable::Entry* MergeTable::find(int32_t left, int32_t right) const {
  const Entry& entry = entries_[slot(pair_key(left, right))];
  return entry.pair == kEmpty ? nullptr : &entry;
}

Bpe::Bpe(std::vector<std::optional<std::string>> tokens, std::vector<TokenPair> merges,
         BpeOptions options)
    : tokens_(std::move(tokens)),
      merges_(std::move(merges)),
      table_(merges_.size()),
      options_(std::move(options)),
      byte_ids_(256, -1),
      short_ids_(0x800, -1) {
  ids_.reserve(tokens_.size());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i]) ids_[*tokens_[i]] = static_cast<int32_t>(i);
  }
  for (size_t rank = 0; rank < merges_.size(); ++rank) {
    const auto& [left, right] = merges_[rank];
    const std::string text = *tokens_.at(static_cast<size_t>(left)) +  //
                             *tokens_.at(static_cast<size_t>(right));
    const auto merged = id(text);
    if (!merged) {
      throw UsageError(
          "merge " + std::to_string(rank) + " ('" + *tokens_[static_cast<size_t>(left)] + "' + '" +
          *tokens_[static_cast<size_t>(right)] + "'): '" + text + "' is not in the vocabulary");
    }
    table_.put(left, right, static_cast<uint32_t>(rank), *merged);
  }
  if (options_.unk_token) unk_id_ = id(*options_.unk_token);
  for (unsigned value = 0; value < 256; ++value) {
    byte_ids_[value] = id(byte_token(value)).value_or(-1);
  }
  for (char32_t c = 0; c < 0x800; ++c) {
    std::string text;
    append_character(text, c);
    short_ids_[c] = id(text).value_or(-1);
  }
}

std::optional<int32_t> Bpe::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Bpe::token(int32_t id) const {
  if (id < 0 || id >= end_id()) return nullptr;
  const auto& text = tokens_[static_cast<size_t>(id)];
  return text ? &*text : nullptr;
}

std::optional<int32_t> Bpe::character_id(std::string_view character) const {
  if (character.size() > 2) return id(character);
  size_t pos = 0;
  const int32_t found = short_ids_[next_character(character, pos)];
  if (found < 0) return std::nullopt;
  return found;
}

bool Bpe::append_bytes(std::string_view character, std::vector<int32_t>& out) const {
  const auto byte_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  const bool all_known = std::all_of(character.begin(), character.end(),
                                     [&](char byte) { return byte_id(byte) >= 0; });
  if (!all_known) return false;
  for (const char byte : character) out.push_back(byte_id(byte));
  return true;
}

// One id a character. An unknown token waits until the next known character shows whether more
// unknown ones join it; bytes of a fallback do not end that wait (as in Hugging Face `tokenizers`).
void Bpe::append_initial(std::string_view word, std::vector<int32_t>& out) const {
  bool unk_waits = false;
  const auto flush = [&] {
    if (unk_waits) out.push_back(*unk_id_);
    unk_waits = false;
  };
  size_t pos = 0;
  while (pos < word.size()) {
    const size_t begin = pos;
    next_character(word, pos);
    const std::string_view character = word.substr(begin, pos - begin);
    if (const auto found = character_id(character)) {
      flush();
      out.push_back(*found);
    } else if (options_.byte_fallback && append_bytes(character, out)) {
      continue;
    } else if (unk_id_) {
      if (!options_.fuse_unk) flush();
      unk_waits = true;
    } else if (options_.unk_token) {
      throw UsageError("the tokenizer's unk_token '" + *options_.unk_token +
                       "' is not in its vocabulary, and the text has the unknown character '" +
                       std::string(character) + "'; add the token or set unk_token to null");
    }
  }
  flush();
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto whole = id(word)) {
      out.push_back(*whole);
      return;
    }
  }
  const size_t start = out.size();
  append_initial(word, out);
  if (out.size() - start < 2) return;
  if (start == 0) {
    merge(out);
    return;
  }
  std::vector<int32_t> ids(out.begin() + static_cast<std::ptrdiff_t>(start), out.end());
  merge(ids);
  out.resize(start);
  out.insert(out.end(), ids.begin(), ids.end());
}

void Bpe::merge(std::vector<int32_t>& ids) const {
  if (ids.size() > kMaxSymbols) {
    throw Error("a word of " + std::to_string(ids.size()) + " symbols: at most " +
                std::to_string(kMaxSymbols) + " can be merged");
  }
  const auto count = static_cast<uint32_t>(ids.size());
  std::vector<Symbol> symbols(count);
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {ids[i], false, i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  }
  std::vector<Candidate> first;
  for (uint32_t i = 0; i + 1 < count; ++i) {
    if (const auto* found = table_.find(ids[i], ids[i + 1])) {
      first.push_back({found->rank, i, found->merged});
    }
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>{}, std::move(first));
  const auto consider = [&](uint32_t left, uint32_t right) {
    if (left == kNone || right == kNone) return;
    if (const auto* found = table_.find(symbols[left].id, symbols[right].id)) {
      queue.push({found->rank, left, found->merged});
    }
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.dead || left.next == kNone) continue;
    // Either side may have grown since this candidate was pushed.
    const auto* still = table_.find(left.id, symbols[left.next].id);
    if (still == nullptr || still->merged != top.merged) continue;
    Symbol& right = symbols[left.next];
    right.dead = true;
    left.id = top.merged;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = top.position;
    consider(left.previous, top.position);
    consider(top.position, left.next);
  }
  ids.clear();
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace tune
