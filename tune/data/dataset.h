// From the files of a configuration to batches: formats, masking, validation split, prepared cache,
// packing, order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/sample.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

struct DatasetStats {
  int64_t num_rows = 0, num_dropped_long = 0, num_truncated = 0, num_dropped_short = 0,
          num_dropped_untrainable = 0;
  int64_t num_tokens = 0, num_trainable = 0, longest = 0;
  bool from_cache = false;
  std::string cache_path;
};

struct PreparedData {
  std::vector<Sample> train, validation;
  DatasetStats stats;
};

// Called with (rows done, rows in all) while tokenizing.
using DataProgress = std::function<void(int64_t done, int64_t total)>;

// Reads, tokenizes, masks, splits and caches. Errors name file, line of the JSON lines file, and
// the fix.
PreparedData prepare_data(const Config& config, const Tokenizer& tokenizer,
                          const DataProgress& progress = {});

// One bin a row: indices into the samples, in order of first-fit decreasing.
struct Packing {
  std::vector<std::vector<int32_t>> bins;
  double efficiency = 0.0;  // tokens / (bins * capacity)
};
Packing pack_first_fit_decreasing(const std::vector<int64_t>& lengths, int64_t capacity,
                                  int64_t max_per_bin);

// The batches of one epoch, in a fixed order that depends on (seed, epoch) only.
class BatchPlan {
 public:
  BatchPlan(const std::vector<Sample>& samples, const Config& config, bool is_training,
            int32_t pad_id);
  // Packs (with sample_packing) and orders the epoch; the same (seed, epoch) gives the same
  // batches.
  void start_epoch(int64_t epoch);
  int64_t num_batches()
      const;  // micro-batches of the epoch; constant over epochs for unpacked rows
  Batch batch(int64_t index) const;
  double packing_efficiency() const;  // 1.0 without packing

 private:
  const std::vector<Sample>& samples_;
  const Config& config_;
  bool is_training_;
  int32_t pad_id_;
  std::vector<std::vector<std::vector<int32_t>>> batches_;  // batch -> row -> sample indices
  double efficiency_ = 1.0;
};

// One prompt in the model's words: `chat` renders a conversation with a named template ("chatml",
// ...), the alpaca format or the model's own; used by infer and by sample prompts, so that training
// and asking never differ.
struct ChatMessage {
  std::string role, content;
};
std::string render_chat(const std::string& template_name, const std::vector<ChatMessage>& messages,
                        const Tokenizer& tokenizer, bool add_generation_prompt);
std::string render_alpaca(const std::string& instruction, const std::string& input);

}  // namespace tune
