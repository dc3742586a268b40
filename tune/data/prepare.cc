// prepare_data: files -> rows -> samples -> training and evaluation sets, or the cache's copy.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "tune/config/scalar.h"
#include "tune/data/data_files.h"
#include "tune/data/dataset.h"
#include "tune/data/prepared_cache.h"
#include "tune/data/row_format.h"
#include "tune/data/shuffle.h"
#include "tune/error.h"

namespace tune {
namespace {

constexpr uint64_t kSplitOrder = 3;
constexpr int64_t kShortestSample = 2;  // one token to read and one to predict
constexpr int64_t kProgressRows = 64;

// One entry of `datasets` or `test_datasets`, opened.
struct Source {
  std::vector<DataFile> files;
  std::vector<RowText> rows;
  std::unique_ptr<RowFormat> format;
};

[[noreturn]] void fail_entry(const Config& config, const DatasetConfig& dataset,
                             const UsageError& error) {
  if (config.source_path.empty() || dataset.line == 0) throw error;
  throw UsageError(config.source_path + ":" + std::to_string(dataset.line) + ": " + error.what());
}

std::vector<Source> open_sources(const std::vector<DatasetConfig>& datasets, const Config& config,
                                 const Tokenizer& tokenizer) {
  std::vector<Source> sources;
  for (const DatasetConfig& dataset : datasets) {
    try {
      sources.push_back(
          {open_data_files(dataset, config), {}, make_row_format(dataset, config, tokenizer)});
    } catch (const UsageError& error) {
      fail_entry(config, dataset, error);
    }
  }
  return sources;
}

std::vector<KeySource> key_sources(const std::vector<DatasetConfig>& datasets,
                                   const std::vector<Source>& sources) {
  std::vector<KeySource> keys;
  for (size_t i = 0; i < sources.size(); ++i) {
    KeySource key{describe_dataset(datasets[i]), sources[i].format->fingerprint(), {}};
    for (const DataFile& file : sources[i].files) key.file_hashes.push_back(file.sha256);
    keys.push_back(std::move(key));
  }
  return keys;
}

// Turns rows into samples and counts what becomes of them.
class Preparer {
 public:
  Preparer(const Config& config, DatasetStats& stats, const DataProgress& progress)
      : config_(config), stats_(stats), progress_(progress) {}

  void count_rows(std::vector<Source>& sources) {
    for (Source& source : sources) {
      for (const DataFile& file : source.files) {
        std::vector<RowText> rows = split_rows(file.text(), file.path);
        source.rows.insert(source.rows.end(), rows.begin(), rows.end());
      }
      if (source.rows.empty()) {
        throw UsageError(source.files.front().path +
                         ": there is no row in it; a data file holds one JSON object a line, or "
                         "one array of objects");
      }
      stats_.num_rows += static_cast<int64_t>(source.rows.size());
    }
  }

  // `use` ends the sentence of the UsageError when no sample is left.
  std::vector<Sample> samples(const std::vector<Source>& sources, const char* use) {
    const DatasetStats before = stats_;
    std::vector<Sample> kept;
    for (const Source& source : sources) {
      for (const RowText& text : source.rows) {
        const Row row(text);
        for (Sample& sample : source.format->samples(row)) keep(std::move(sample), row, kept);
        ++num_done_;
        if (progress_ && (num_done_ % kProgressRows == 0 || num_done_ == stats_.num_rows)) {
          progress_(num_done_, stats_.num_rows);
        }
      }
    }
    if (kept.empty()) fail_empty(sources, before, use);
    return kept;
  }

 private:
  [[noreturn]] void fail_empty(const std::vector<Source>& sources, const DatasetStats& before,
                               const char* use) const {
    size_t num_rows = 0;
    for (const Source& source : sources) num_rows += source.rows.size();
    const int64_t num_long = stats_.num_dropped_long - before.num_dropped_long;
    const int64_t num_short = stats_.num_dropped_short - before.num_dropped_short;
    const int64_t num_masked = stats_.num_dropped_untrainable - before.num_dropped_untrainable;
    std::string remedy;
    if (num_long > 0) remedy += "; raise sequence_len or write excess_length_strategy: truncate";
    if (num_masked > 0) {
      remedy +=
          "; check for empty answers, and roles_to_train, train_on_eos and labels where the data "
          "set has them; answers that begin beyond sequence_len are cut away";
    }
    throw UsageError(std::string("no sample is left to ") + use + ": of " +
                     std::to_string(num_rows) + " rows " + std::to_string(num_long) +
                     " were longer than sequence_len " + std::to_string(config_.sequence_len) +
                     ", " + std::to_string(num_short) + " shorter than 2 tokens, " +
                     std::to_string(num_masked) + " without a token to learn" + remedy);
  }

  void keep(Sample sample, const Row& row, std::vector<Sample>& kept) {
    if (sample.length() < kShortestSample) {
      ++stats_.num_dropped_short;
      return;
    }
    if (sample.length() > config_.sequence_len && !shorten(sample, row)) return;
    if (sample.num_trainable() == 0) {
      ++stats_.num_dropped_untrainable;
      return;
    }
    stats_.num_tokens += sample.length();
    stats_.num_trainable += sample.num_trainable();
    stats_.longest = std::max(stats_.longest, sample.length());
    kept.push_back(std::move(sample));
  }

  // What excess_length_strategy says; false = dropped.
  bool shorten(Sample& sample, const Row& row) {
    if (config_.excess_length_strategy == "raise") {
      row.fail("the row has " + std::to_string(sample.length()) +
               " tokens, more than sequence_len " + std::to_string(config_.sequence_len) +
               "; raise sequence_len, or write excess_length_strategy: drop or truncate");
    }
    if (config_.excess_length_strategy == "drop") {
      ++stats_.num_dropped_long;
      return false;
    }
    sample.input_ids.resize(static_cast<size_t>(config_.sequence_len));
    sample.labels.resize(static_cast<size_t>(config_.sequence_len));
    ++stats_.num_truncated;
    return true;
  }

  const Config& config_;
  DatasetStats& stats_;
  const DataProgress& progress_;
  int64_t num_done_ = 0;
};

// How many of `count` samples evaluation gets: a share is rounded up, and one is always left to
// train on. Throws UsageError when there are too few samples for both.
int64_t validation_size(double val_set_size, int64_t count) {
  if (val_set_size <= 0.0) return 0;
  const bool is_share = val_set_size < 1.0;
  if (count < 2 || (!is_share && val_set_size >= static_cast<double>(count))) {
    throw UsageError("val_set_size: " + number_text(val_set_size) + " of " + std::to_string(count) +
                     (count == 1 ? " sample" : " samples") + " leaves none to train on; " +
                     (count < 2 ? "add rows, write val_set_size: 0"
                                : "write a smaller number, or a share such as 0.1") +
                     ", or name the evaluation rows in test_datasets");
  }
  if (!is_share) return static_cast<int64_t>(val_set_size);
  // 0.1 * 70 is 7.000000000000001 in binary; that is 7, not 8.
  const double share = std::ceil(val_set_size * static_cast<double>(count) - 1e-9);
  return std::min(static_cast<int64_t>(share), count - 1);
}

// Moves a random part to `validation`; both keep the order of the files.
void split_validation(const Config& config, PreparedData& data) {
  const auto count = static_cast<int64_t>(data.train.size());
  const int64_t num_validation = validation_size(config.val_set_size, count);
  if (num_validation == 0) return;
  std::vector<int32_t> order(data.train.size());
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 generator = make_generator(static_cast<uint64_t>(config.seed), 0, kSplitOrder);
  shuffle(order, generator);
  std::vector<bool> is_validation(data.train.size(), false);
  for (int64_t i = 0; i < num_validation; ++i) {
    is_validation[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  }
  std::vector<Sample> train;
  for (size_t i = 0; i < data.train.size(); ++i) {
    (is_validation[i] ? data.validation : train).push_back(std::move(data.train[i]));
  }
  data.train = std::move(train);
}

// The cache is a convenience: that it cannot be written is noted, not fatal.
void try_store(const std::string& folder, PreparedData& data) {
  try {
    store_prepared(folder, data);
    data.stats.cache_path = folder;
  } catch (const Error& error) {
    std::string& note = data.stats.note;
    note +=
        (note.empty() ? "" : "; ") + std::string("prepared data were not stored: ") + error.what();
  }
}

}  // namespace

PreparedData prepare_data(const Config& config, const Tokenizer& tokenizer,
                          const DataProgress& progress) {
  std::vector<Source> train = open_sources(config.datasets, config, tokenizer);
  std::vector<Source> test = open_sources(config.test_datasets, config, tokenizer);
  PreparedData data;
  std::string folder, note;
  if (!config.dataset_prepared_path.empty()) {
    const std::string key = prepared_key(config, tokenizer, key_sources(config.datasets, train),
                                         key_sources(config.test_datasets, test));
    folder = (std::filesystem::path(config.dataset_prepared_path) / key).string();
    if (std::optional<PreparedData> cached = load_prepared(folder, note)) {
      return std::move(*cached);
    }
  }
  Preparer preparer(config, data.stats, progress);
  preparer.count_rows(train);
  preparer.count_rows(test);
  data.train = preparer.samples(train, "train on");
  if (config.test_datasets.empty()) {
    split_validation(config, data);
  } else {
    data.validation = preparer.samples(test, "evaluate on (test_datasets)");
  }
  data.stats.note = note;
  if (!folder.empty()) try_store(folder, data);
  return data;
}

}  // namespace tune
