// From the files of a configuration to batches: formats, masking, validation split, prepared cache,
// packing, order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/sample.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// Counts over all rows read, training and evaluation together.
struct DatasetStats {
  int64_t num_rows = 0;                 // rows of the files
  int64_t num_dropped_long = 0;         // longer than sequence_len
  int64_t num_truncated = 0;            // cut to sequence_len
  int64_t num_dropped_short = 0;        // fewer than 2 tokens
  int64_t num_dropped_untrainable = 0;  // no label but, at most, on the first token
  int64_t num_tokens = 0, num_trainable = 0, longest = 0;  // of the samples that stayed
  bool from_cache = false;
  std::string cache_path;  // folder of the prepared rows; empty when they could not be stored
  std::string note;        // why the cache was not used or not written; empty when all went well
};

struct PreparedData {
  std::vector<Sample> train, validation;
  DatasetStats stats;
};

// Called with (rows done, rows in all) while tokenizing.
using DataProgress = std::function<void(int64_t done, int64_t total)>;

// Reads, tokenizes, masks, splits and caches. Throws UsageError naming file, line and the fix.
PreparedData prepare_data(const Config& config, const Tokenizer& tokenizer,
                          const DataProgress& progress = {});

// One bin a row: indices into `lengths`, in the order first-fit decreasing placed them.
struct Packing {
  std::vector<std::vector<int32_t>> bins;
  double efficiency = 1.0;  // tokens / (bins * capacity); 1 when there are no bins
};

// First-fit decreasing (Johnson 1973): longest first, equal lengths in the order given, each into
// the first bin with room for it and fewer than max_per_bin samples. O(n log n). Throws tune::Error
// for a length beyond the capacity.
Packing pack_first_fit_decreasing(const std::vector<int64_t>& lengths, int64_t capacity,
                                  int64_t max_per_bin);

// The batches of one epoch, in an order that depends on (seed, epoch) only; every sample appears
// exactly once an epoch. The last batch holds what is left, for training and evaluation alike.
//
// With packing (sample_packing, or eval_sample_packing when not training) a row is a bin of
// sequence_len tokens. Without, a row is one sample, padded to the longest of its batch rounded up
// to a multiple of 8 (the width of tensor cores and vectors), or to sequence_len with
// pad_to_sequence_len.
//
// Evaluation keeps the order of the samples; training shuffles unless shuffle_before_training is
// false.
class BatchPlan {
 public:
  // Keeps a reference to `samples`, which must outlive the plan; of `config` nothing is kept.
  // Starts at epoch 0.
  BatchPlan(const std::vector<Sample>& samples, const Config& config, bool is_training,
            int32_t pad_id);

  void start_epoch(int64_t epoch);  // 0-based

  // Micro-batches of the epoch. The same for all epochs without packing, and with packing up to
  // sample_packing_group_size samples (the number of bins depends on the lengths only, then).
  int64_t num_batches() const { return static_cast<int64_t>(batches_.size()); }
  Batch batch(int64_t index) const;
  // Tokens / (rows * sequence_len) of the epoch; 1 without packing.
  double packing_efficiency() const { return efficiency_; }

 private:
  using Row = std::vector<int32_t>;

  std::vector<int32_t> sample_order(int64_t epoch) const;
  std::vector<Row> pack_rows(const std::vector<int32_t>& order);
  void group_rows_by_length(std::vector<Row>& rows) const;

  const std::vector<Sample>& samples_;
  int64_t sequence_len_, micro_batch_size_, bin_size_, group_size_;
  uint64_t seed_;
  bool is_packed_, is_shuffled_, is_grouped_, pads_to_sequence_len_;
  int32_t pad_id_;
  std::vector<std::vector<Row>> batches_;  // batch -> row -> sample indices
  double efficiency_ = 1.0;
};

// One message of a conversation; role is "system", "user", "assistant" or whatever the data says.
struct ChatMessage {
  std::string role, content;
};

// A conversation as text, by the name of a template ("chatml", "llama3", "alpaca", "mistral") or
// "tokenizer_default" (also ""): the model's own. Ids are encode(text, add_special_tokens = false).
// Throws UsageError for a name or a conversation that the template does not know.
std::string render_chat(const std::string& template_name, const std::vector<ChatMessage>& messages,
                        const Tokenizer& tokenizer, bool add_generation_prompt);

// The alpaca prompt up to and with "### Response:\n". Ids are encode(text, add_special_tokens =
// true).
std::string render_alpaca(const std::string& instruction, const std::string& input);

// A token and what training does with it, for `regard preprocess --debug`.
struct TokenLabel {
  int32_t id = 0, label = kIgnoreLabel;
  std::string text;  // decoded alone, special tokens shown; bytes of a cut character as U+FFFD
  bool is_trained = false;  // counts in the loss (never the first token of a sample)
};
std::vector<TokenLabel> describe_sample(const Sample& sample, const Tokenizer& tokenizer);

}  // namespace tune
