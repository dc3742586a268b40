#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tune/tokenizer/tokenizer.h"

namespace tune {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// A character has at most 4 bytes, so more undecided tokens than this are not one character.
constexpr size_t kMaxUndecided = 8;
// Keeps a stream of nothing but invalid bytes from being decoded again and again.
constexpr size_t kMaxWindow = 64;

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

// `ids_` is a window: tokens whose text, `done_`, was given out, then those still undecided. Old
// tokens stay in the window because some decoders treat the first token differently.
std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  ++num_undecided_;
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  if (text.ends_with(kReplacement) && num_undecided_ <= kMaxUndecided) return "";
  return give_out(text);
}

std::string StreamDecoder::finish() {
  if (num_undecided_ == 0) return "";
  std::string out = give_out(tokenizer_.decode(ids_, skip_special_tokens_));
  ids_.clear();
  done_.clear();
  return out;
}

std::string StreamDecoder::give_out(const std::string& text) {
  const std::span<const int32_t> fresh = std::span<const int32_t>(ids_).last(num_undecided_);
  const std::string fresh_text = tokenizer_.decode(fresh, skip_special_tokens_);
  // Where undecided bytes spoiled what stood before them, they are shown by themselves.
  std::string out = text.starts_with(done_) ? text.substr(done_.size()) : fresh_text;
  // The fresh tokens begin and end between characters, so they are context enough for what follows
  // once they have a text of their own.
  const bool is_whole = !fresh_text.empty() && !fresh_text.ends_with(kReplacement);
  if (is_whole || ids_.size() > kMaxWindow) {
    ids_.erase(ids_.begin(), ids_.end() - static_cast<std::ptrdiff_t>(num_undecided_));
    done_ = fresh_text;
  } else {
    done_ = text;
  }
  num_undecided_ = 0;
  return out;
}

}  // namespace tune
