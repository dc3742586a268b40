#include "tune/data/sample.h"

#include <algorithm>
#include <string>

#include "tune/error.h"

namespace tune {

int64_t Sample::num_trainable() const {
  if (labels.empty()) return 0;
  return std::count_if(labels.begin() + 1, labels.end(),
                       [](int32_t label) { return label != kIgnoreLabel; });
}

namespace {

// Appends one document to the batch; its first label never counts, because the token before it
// belongs to another document.
void append_document(const Sample& sample, Batch& batch) {
  batch.input_ids.insert(batch.input_ids.end(), sample.input_ids.begin(), sample.input_ids.end());
  if (sample.length() > 0) {
    batch.labels.push_back(kIgnoreLabel);
    batch.labels.insert(batch.labels.end(), sample.labels.begin() + 1, sample.labels.end());
    batch.document_offsets.push_back(static_cast<int32_t>(batch.input_ids.size()));
  }
  for (int64_t i = 0; i < sample.length(); ++i) {
    batch.position_ids.push_back(static_cast<int32_t>(i));
  }
  batch.num_tokens += sample.length();
  batch.num_trainable += sample.num_trainable();
}

void append_padding(int64_t count, int32_t pad_id, Batch& batch) {
  if (count == 0) return;
  for (int64_t i = 0; i < count; ++i) {
    batch.input_ids.push_back(pad_id);
    batch.labels.push_back(kIgnoreLabel);
    batch.position_ids.push_back(static_cast<int32_t>(i));
  }
  batch.document_offsets.push_back(static_cast<int32_t>(batch.input_ids.size()));
}

}  // namespace

Batch lay_out_rows(const std::vector<Sample>& samples,
                   const std::vector<std::vector<int32_t>>& rows, int64_t row_length,
                   int32_t pad_id) {
  Batch batch;
  batch.num_rows = static_cast<int64_t>(rows.size());
  batch.row_length = row_length;
  const auto num_cells = static_cast<size_t>(batch.num_rows * row_length);
  batch.input_ids.reserve(num_cells);
  batch.labels.reserve(num_cells);
  batch.position_ids.reserve(num_cells);
  batch.document_offsets.push_back(0);
  for (const auto& row : rows) {
    int64_t used = 0;
    for (int32_t index : row) {
      const Sample& sample = samples[static_cast<size_t>(index)];
      append_document(sample, batch);
      used += sample.length();
    }
    if (used > row_length) {
      throw Error("a row of " + std::to_string(used) + " tokens does not fit into " +
                  std::to_string(row_length));
    }
    append_padding(row_length - used, pad_id, batch);
  }
  return batch;
}

}  // namespace tune
