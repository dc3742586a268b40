// The formats that tokenize plain fields: alpaca, completion, input_output.
#include <algorithm>

#include "tune/data/dataset.h"
#include "tune/data/row_format.h"
#include "tune/error.h"

namespace tune {
namespace {

void append(Sample& sample, const std::vector<int32_t>& ids, bool is_trained) {
  sample.input_ids.insert(sample.input_ids.end(), ids.begin(), ids.end());
  if (is_trained) {
    sample.labels.insert(sample.labels.end(), ids.begin(), ids.end());
  } else {
    sample.labels.insert(sample.labels.end(), ids.size(), kIgnoreLabel);
  }
}

// Text with the tokenizer's own BOS (and what else its post-processor adds), closed by one EOS. An
// empty text has no tokens at all, as in Axolotl: nothing is learned from an empty answer.
std::vector<int32_t> encode_closed(const Tokenizer& tokenizer, std::string_view text) {
  if (text.empty()) return {};
  std::vector<int32_t> ids = tokenizer.encode(text, /*add_special_tokens=*/true);
  const std::optional<int32_t> eos = tokenizer.special().eos;
  if (eos && !ids.empty() && ids.back() != *eos) ids.push_back(*eos);
  return ids;
}

class AlpacaFormat : public RowFormat {
 public:
  AlpacaFormat(const Config& config, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), trains_prompt_(config.train_on_inputs) {}

  std::vector<Sample> samples(const Row& row) const override {
    const std::string prompt = render_alpaca(row.text("instruction"), row.text_or_empty("input"));
    std::vector<int32_t> response = encode_closed(tokenizer_, row.text("output"));
    // The response is tokenized by itself, so its BOS would stand in the middle of the sample.
    const std::optional<int32_t> bos = tokenizer_.special().bos;
    if (bos && !response.empty() && response.front() == *bos) response.erase(response.begin());
    Sample sample;
    append(sample, tokenizer_.encode(prompt, /*add_special_tokens=*/true), trains_prompt_);
    append(sample, response, /*is_trained=*/true);
    return {std::move(sample)};
  }

 private:
  const Tokenizer& tokenizer_;
  bool trains_prompt_;
};

class CompletionFormat : public RowFormat {
 public:
  CompletionFormat(const DatasetConfig& dataset, const Config& config, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), field_(dataset.field), piece_len_(config.sequence_len) {}

  std::vector<Sample> samples(const Row& row) const override {
    const std::vector<int32_t> ids = encode_closed(tokenizer_, row.text(field_));
    const auto piece = static_cast<size_t>(std::max<int64_t>(piece_len_, 1));
    std::vector<Sample> pieces;
    for (size_t begin = 0; begin < ids.size() || pieces.empty(); begin += piece) {
      const size_t end = std::min(ids.size(), begin + piece);
      Sample sample;
      append(sample,
             {ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(end)},
             /*is_trained=*/true);
      pieces.push_back(std::move(sample));
    }
    return pieces;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string field_;
  int64_t piece_len_;
};

class InputOutputFormat : public RowFormat {
 public:
  InputOutputFormat(const Config& config, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), trains_all_(config.train_on_inputs) {}

  std::vector<Sample> samples(const Row& row) const override {
    Sample sample;
    size_t index = 0;
    for (const nlohmann::json& segment : row.array("segments")) {
      const std::string name = "segments[" + std::to_string(index++) + "]";
      if (!segment.is_object()) {
        row.fail(name + " must be {\"label\": true or false, \"text\": ...}; it is " +
                 describe_type(segment));
      }
      const auto label = segment.find("label");
      const auto text = segment.find("text");
      if (label == segment.end() || !label->is_boolean()) {
        row.fail(name + " needs \"label\": true or false; its fields are: " + list_fields(segment));
      }
      if (text == segment.end() || !text->is_string()) {
        row.fail(name + " needs \"text\", a string; its fields are: " + list_fields(segment));
      }
      append(sample, tokenizer_.encode(text->get_ref<const std::string&>(), false),
             label->get<bool>() || trains_all_);
    }
    return {std::move(sample)};
  }

 private:
  const Tokenizer& tokenizer_;
  bool trains_all_;
};

}  // namespace

std::unique_ptr<RowFormat> make_alpaca_format(const Config& config, const Tokenizer& tokenizer) {
  return std::make_unique<AlpacaFormat>(config, tokenizer);
}

std::unique_ptr<RowFormat> make_completion_format(const DatasetConfig& dataset,
                                                  const Config& config,
                                                  const Tokenizer& tokenizer) {
  return std::make_unique<CompletionFormat>(dataset, config, tokenizer);
}

std::unique_ptr<RowFormat> make_input_output_format(const Config& config,
                                                    const Tokenizer& tokenizer) {
  return std::make_unique<InputOutputFormat>(config, tokenizer);
}

}  // namespace tune
