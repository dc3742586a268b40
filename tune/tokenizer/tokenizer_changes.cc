// The `special_tokens:` and `tokens:` of a configuration file, applied to a tokenizer.
#include <algorithm>
#include <string>
#include <utility>

#include "tune/error.h"
#include "tune/tokenizer/bpe_tokenizer.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

std::unique_ptr<Tokenizer> apply_changes(std::unique_ptr<Tokenizer> tokenizer,
                                         const TokenizerChanges& changes) {
  if (changes.special_tokens.empty() && changes.tokens.empty()) return tokenizer;
  auto* bpe = dynamic_cast<BpeTokenizer*>(tokenizer.get());
  if (bpe == nullptr) throw Error("this tokenizer cannot be extended");
  const auto roles = special_roles();
  for (const auto& change : changes.special_tokens) {
    const std::string &key = change.first, &content = change.second;
    const auto role = std::find_if(roles.begin(), roles.end(),
                                   [&](const SpecialRole& r) { return key == r.key; });
    if (role == roles.end()) {
      throw UsageError(
          "special_tokens: '" + key +
          "' is unknown; allowed are bos_token, eos_token, pad_token, unk_token (other "
          "new tokens go under tokens:)");
    }
    if (content.empty()) throw UsageError("special_tokens: " + key + ": is empty; write its text");
    bpe->set_special(*role, content);
  }
  for (const std::string& content : changes.tokens) {
    if (content.empty()) throw UsageError("tokens: an entry is empty; write its text");
    bpe->add_token(content, false);
  }
  return tokenizer;
}

}  // namespace tune
