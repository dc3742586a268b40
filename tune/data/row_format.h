// Formats: how one row of a data file becomes samples. One file a format; docs/data.md describes
// them for users.
#pragma once

#include <memory>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/json_rows.h"
#include "tune/data/sample.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

class RowFormat {
 public:
  virtual ~RowFormat() = default;
  // Usually one sample; completion cuts a long text into several. Lengths are not limited here.
  // Throws UsageError naming the row's file and line.
  virtual std::vector<Sample> samples(const Row& row) const = 0;
  // What the samples depend on beyond the row, the data set's keys and the tokenizer.
  virtual std::string fingerprint() const { return {}; }
};

// All keep references to their arguments, which outlive the format.
std::unique_ptr<RowFormat> make_alpaca_format(const Config& config, const Tokenizer& tokenizer);
std::unique_ptr<RowFormat> make_completion_format(const DatasetConfig& dataset,
                                                  const Config& config, const Tokenizer& tokenizer);
std::unique_ptr<RowFormat> make_chat_format(const DatasetConfig& dataset, const Config& config,
                                            const Tokenizer& tokenizer);
std::unique_ptr<RowFormat> make_input_output_format(const Config& config,
                                                    const Tokenizer& tokenizer);
std::unique_ptr<RowFormat> make_pretokenized_format(const Tokenizer& tokenizer);

// By dataset.type. Throws UsageError for an unknown one.
std::unique_ptr<RowFormat> make_row_format(const DatasetConfig& dataset, const Config& config,
                                           const Tokenizer& tokenizer);

}  // namespace tune
