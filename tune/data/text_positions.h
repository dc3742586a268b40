// Which tokens of a rendered conversation belong to which message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tune/data/chat_template.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// Token indices of a message: content [content_begin, content_end), end marker [content_end, end).
struct TokenSpan {
  size_t content_begin = 0, content_end = 0, end = 0;
};

// `ids` are those of the whole text. A token that holds bytes of both sides of a border counts to
// the right side: it is the first one that needs the bytes behind the border.
std::vector<TokenSpan> locate_messages(const RenderedChat& chat, const std::vector<int32_t>& ids,
                                       const Tokenizer& tokenizer);

}  // namespace tune
