// Sample and Batch: rows of tokens on their way from a data set to a training step. Plain memory,
// no LibTorch.
#pragma once

#include <cstdint>
#include <vector>

namespace tune {

inline constexpr int32_t kIgnoreLabel = -100;

// One tokenized row. labels[i] is the id to predict AT position i (not shifted), or kIgnoreLabel.
struct Sample {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;
  int64_t length() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t num_trainable()
      const;  // labels that are not ignored, the first position not counted (nothing predicts it)
};

// num_rows x row_length tokens, row-major. Documents never see each other; each row's padding is a
// document of its own. offsets cover all num_rows * row_length tokens: the first is 0, and every
// row start is an offset.
struct Batch {
  int64_t num_rows = 0, row_length = 0;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;        // not shifted; padding is kIgnoreLabel
  std::vector<int32_t> position_ids;  // restart at 0 with every document
  std::vector<int32_t> document_offsets;
  int64_t num_tokens = 0;  // without padding
  int64_t num_trainable =
      0;  // labels that count in the loss: the first token of every document is never one
};

}  // namespace tune
