#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tune/tokenizer/tokenizer.h"

namespace tune {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// A character has at most 4 bytes, so in 8 tokens there is a whole one besides the one being made.
constexpr size_t kContext = 8;
constexpr size_t kTrimAbove = 2 * kContext;
// A stream of nothing but invalid bytes is shown as such after this many tokens.
constexpr size_t kMaxUndecided = 64;

// What no later token can change: a character still being made shows as U+FFFD at the end.
std::string_view settled_part(std::string_view text) {
  while (text.ends_with(kReplacement)) text.remove_suffix(kReplacement.size());
  return text;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

// `ids_` is a window over the last tokens and `done_` the part of its text that was given out. Old
// tokens stay in the window because some decoders treat the first token differently.
std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  ++num_undecided_;
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  const std::string_view settled = settled_part(text);
  if (settled.size() > done_.size() && settled.starts_with(done_)) {
    std::string out(settled.substr(done_.size()));
    done_ = settled;
    num_undecided_ = 0;
    trim();
    return out;
  }
  return num_undecided_ > kMaxUndecided && text != done_ ? finish() : "";
}

std::string StreamDecoder::finish() {
  if (ids_.empty()) return "";
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  // Where undecided bytes spoiled what stood before them, they are shown by themselves.
  std::string out = text.starts_with(done_)
                        ? text.substr(done_.size())
                        : tokenizer_.decode(std::span<const int32_t>(ids_).last(num_undecided_),
                                            skip_special_tokens_);
  ids_.clear();
  done_.clear();
  num_undecided_ = 0;
  return out;
}

// Shortens the window where the shorter one ends in the same settled character. It may begin in
// the middle of a character; that only changes its front, which was given out long ago.
void StreamDecoder::trim() {
  if (ids_.size() <= kTrimAbove) return;
  const std::span<const int32_t> context = std::span<const int32_t>(ids_).last(kContext);
  const std::string text = tokenizer_.decode(context, skip_special_tokens_);
  const std::string_view settled = settled_part(text);
  if (settled.empty()) return;
  done_ = settled;
  ids_.erase(ids_.begin(), ids_.end() - static_cast<std::ptrdiff_t>(kContext));
}

}  // namespace tune
