#include "tune/data/row_format.h"

#include "tune/error.h"

namespace tune {

std::unique_ptr<RowFormat> make_row_format(const DatasetConfig& dataset, const Config& config,
                                           const Tokenizer& tokenizer) {
  if (dataset.type == "alpaca") return make_alpaca_format(config, tokenizer);
  if (dataset.type == "completion") return make_completion_format(dataset, config, tokenizer);
  if (dataset.type == "chat_template") return make_chat_format(dataset, config, tokenizer);
  if (dataset.type == "input_output") return make_input_output_format(config, tokenizer);
  if (dataset.type.empty()) return make_pretokenized_format(tokenizer);
  throw UsageError("type: \"" + dataset.type +
                   "\" is not known; write alpaca, completion, chat_template, input_output, or "
                   "leave it empty for pretokenized rows");
}

}  // namespace tune
