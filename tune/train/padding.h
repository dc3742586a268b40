// The id that fills rows.
#pragma once

#include <cstdint>

#include "tune/tokenizer/tokenizer.h"

namespace tune {

// pad_token, else the end of text, else 0. Padding is never predicted nor attended to, so any id
// would do; these are what other tools show for it.
inline int32_t padding_id(const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.special();
  return special.pad.value_or(special.eos.value_or(0));
}

}  // namespace tune
