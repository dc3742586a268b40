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
  // Labels that are not ignored, the first position not counted: nothing predicts it.
  int64_t num_trainable() const;
  bool operator==(const Sample&) const = default;
};

// num_rows x row_length tokens, row-major. Documents never see each other; each row's padding is a
// document of its own. offsets cover all num_rows * row_length tokens: the first is 0, every row
// start is an offset, and the last is num_rows * row_length.
struct Batch {
  int64_t num_rows = 0, row_length = 0;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;        // not shifted; padding is kIgnoreLabel
  std::vector<int32_t> position_ids;  // restart at 0 with every document
  std::vector<int32_t> document_offsets;
  int64_t num_tokens = 0;  // without padding
  // Labels that count in the loss: the first token of every document is never one.
  int64_t num_trainable = 0;
};

// Lays samples out as rows of `row_length` tokens: rows[r] lists samples, one document each, in
// order; what is left of a row is filled with pad_id. Throws tune::Error when a row does not fit.
Batch lay_out_rows(const std::vector<Sample>& samples,
                   const std::vector<std::vector<int32_t>>& rows, int64_t row_length,
                   int32_t pad_id);

}  // namespace tune
