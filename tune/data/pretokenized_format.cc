// Rows that are ids already: input_ids, with attention_mask and labels where they are given.
#include <algorithm>

#include "tune/data/row_format.h"

namespace tune {
namespace {

class PretokenizedFormat : public RowFormat {
 public:
  explicit PretokenizedFormat(const Tokenizer& tokenizer) : vocab_size_(tokenizer.vocab_size()) {}

  std::vector<Sample> samples(const Row& row) const override {
    Sample sample;
    sample.input_ids = integers(row, "input_ids", 0);
    sample.labels = row.has("labels") ? integers(row, "labels", kIgnoreLabel) : sample.input_ids;
    check_length(row, "labels", sample.labels.size(), sample.input_ids.size());
    if (row.has("attention_mask")) drop_padding(row, sample);
    return {std::move(sample)};
  }

 private:
  // Ids from `lowest` (0, or kIgnoreLabel for labels, of which -1 to -99 are not valid) on.
  std::vector<int32_t> integers(const Row& row, const std::string& field, int32_t lowest) const {
    std::vector<int32_t> values;
    for (const nlohmann::json& value : row.array(field)) {
      const std::string name = field + "[" + std::to_string(values.size()) + "]";
      if (!value.is_number_integer()) {
        row.fail(name + " must be a whole number; it is " + describe_type(value));
      }
      const auto id = value.get<int64_t>();
      if (!(id >= 0 && id < vocab_size_) && id != lowest) {
        row.fail(name + " is " + value.dump() + "; the tokenizer has ids 0 to " +
                 std::to_string(vocab_size_ - 1) +
                 (lowest == kIgnoreLabel ? ", and -100 means: not trained" : ""));
      }
      values.push_back(static_cast<int32_t>(id));
    }
    return values;
  }

  static void check_length(const Row& row, const std::string& field, size_t length,
                           size_t expected) {
    if (length == expected) return;
    row.fail(field + " has " + std::to_string(length) + " entries and input_ids " +
             std::to_string(expected) + "; they must be equally many");
  }

  // Masked tokens are padding, which batches add by themselves. Only ends can be padding: a gap
  // inside would silently join what it separated.
  static void drop_padding(const Row& row, Sample& sample) {
    const nlohmann::json& mask = row.array("attention_mask");
    check_length(row, "attention_mask", mask.size(), sample.input_ids.size());
    const bool is_binary = std::all_of(mask.begin(), mask.end(), [](const nlohmann::json& value) {
      return value.is_number_integer() && (value == 0 || value == 1);
    });
    if (!is_binary) row.fail("attention_mask must hold 0 and 1 only");
    size_t begin = 0, end = mask.size();
    while (begin < end && mask[begin] == 0) ++begin;
    while (end > begin && mask[end - 1] == 0) --end;
    for (size_t i = begin; i < end; ++i) {
      if (mask[i] == 0) {
        row.fail("attention_mask[" + std::to_string(i) +
                 "] is 0 between ones; only padding at the ends can be masked");
      }
    }
    const auto keep = [begin, end](std::vector<int32_t>& values) {
      values = {values.begin() + static_cast<int64_t>(begin),
                values.begin() + static_cast<int64_t>(end)};
    };
    keep(sample.input_ids);
    keep(sample.labels);
  }

  int64_t vocab_size_;
};

}  // namespace

std::unique_ptr<RowFormat> make_pretokenized_format(const Tokenizer& tokenizer) {
  return std::make_unique<PretokenizedFormat>(tokenizer);
}

}  // namespace tune
