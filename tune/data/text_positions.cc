#include "tune/data/text_positions.h"

#include <algorithm>
#include <string_view>

namespace tune {
namespace {

// A stretch of the text whose ids stand alone at `first_token` of the whole.
struct Chunk {
  size_t begin = 0, end = 0;  // bytes
  size_t first_token = 0;
};

class BorderFinder {
 public:
  BorderFinder(const RenderedChat& chat, const std::vector<int32_t>& ids,
               const Tokenizer& tokenizer)
      : text_(chat.text), ids_(ids), tokenizer_(tokenizer), chunks_(split_at_turns(chat)) {}

  // Index of the first token that is not fully explained by the text before `position`: the ids of
  // that text agree with the whole text's ids up to there.
  size_t token_at(size_t position) const {
    const Chunk& chunk = chunk_of(position);
    const std::vector<int32_t> prefix =
        tokenizer_.encode(text_.substr(chunk.begin, position - chunk.begin), false);
    const auto begin = ids_.begin() + static_cast<int64_t>(chunk.first_token);
    const auto [mine, theirs] = std::mismatch(prefix.begin(), prefix.end(), begin, ids_.end());
    return chunk.first_token + static_cast<size_t>(mine - prefix.begin());
  }

 private:
  // Turns usually start with a special token, where tokenizing starts afresh; then each turn can be
  // looked at alone and the work grows with the length of the text instead of its square. Where the
  // ids of the turns do not add up to the ids of the whole, the whole is one chunk.
  std::vector<Chunk> split_at_turns(const RenderedChat& chat) const {
    std::vector<size_t> starts = {0};
    for (const RenderedChat::Span& span : chat.messages) {
      if (span.begin > starts.back()) starts.push_back(span.begin);
    }
    std::vector<Chunk> chunks;
    size_t token = 0;
    for (size_t i = 0; i < starts.size(); ++i) {
      const size_t end = i + 1 < starts.size() ? starts[i + 1] : text_.size();
      const std::vector<int32_t> part =
          tokenizer_.encode(text_.substr(starts[i], end - starts[i]), false);
      if (token + part.size() > ids_.size() ||
          !std::equal(part.begin(), part.end(), ids_.begin() + static_cast<int64_t>(token))) {
        return {{0, text_.size(), 0}};
      }
      chunks.push_back({starts[i], end, token});
      token += part.size();
    }
    if (token != ids_.size()) return {{0, text_.size(), 0}};
    return chunks;
  }

  // The chunk a border ends in: a border between two chunks belongs to the first.
  const Chunk& chunk_of(size_t position) const {
    const auto found = std::find_if(chunks_.begin(), chunks_.end(), [position](const Chunk& chunk) {
      return position <= chunk.end;
    });
    return found == chunks_.end() ? chunks_.back() : *found;
  }

  std::string_view text_;
  const std::vector<int32_t>& ids_;
  const Tokenizer& tokenizer_;
  std::vector<Chunk> chunks_;
};

}  // namespace

std::vector<TokenSpan> locate_messages(const RenderedChat& chat, const std::vector<int32_t>& ids,
                                       const Tokenizer& tokenizer) {
  const BorderFinder finder(chat, ids, tokenizer);
  std::vector<TokenSpan> spans;
  for (const RenderedChat::Span& span : chat.messages) {
    TokenSpan tokens;
    if (span.end > span.begin) {
      tokens.content_begin = finder.token_at(span.content_begin);
      // An end marker of no bytes and content of no bytes start where the part before them does.
      tokens.content_end = span.content_end == span.content_begin
                               ? tokens.content_begin
                               : finder.token_at(span.content_end);
      tokens.end = span.end == span.content_end ? tokens.content_end : finder.token_at(span.end);
    }
    spans.push_back(tokens);
  }
  return spans;
}

}  // namespace tune
