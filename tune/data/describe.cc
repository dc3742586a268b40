#include "tune/data/dataset.h"

namespace tune {

std::vector<TokenLabel> describe_sample(const Sample& sample, const Tokenizer& tokenizer) {
  std::vector<TokenLabel> tokens;
  for (size_t i = 0; i < sample.input_ids.size(); ++i) {
    TokenLabel token;
    token.id = sample.input_ids[i];
    token.label = sample.labels[i];
    token.text = tokenizer.decode({&token.id, 1}, /*skip_special_tokens=*/false);
    token.is_trained = i > 0 && token.label != kIgnoreLabel;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace tune
