#include <algorithm>
#include <numeric>
#include <string>

#include "tune/data/dataset.h"
#include "tune/data/shuffle.h"
#include "tune/error.h"

namespace tune {
namespace {

// What a generator is for, so that no two uses of a seed share random numbers.
constexpr uint64_t kSampleOrder = 1, kBatchOrder = 2;

// Rows are sorted by length within this many batches: wide enough to bring equal lengths together,
// narrow enough that the shuffle still decides who meets whom.
constexpr int64_t kBatchesPerLengthGroup = 50;

constexpr int64_t kRowMultiple = 8;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

BatchPlan::BatchPlan(const std::vector<Sample>& samples, const Config& config, bool is_training,
                     int32_t pad_id)
    : samples_(samples),
      sequence_len_(config.sequence_len),
      micro_batch_size_(std::max<int64_t>(config.micro_batch_size, 1)),
      bin_size_(std::max<int64_t>(config.sample_packing_bin_size, 1)),
      group_size_(std::max<int64_t>(config.sample_packing_group_size, 1)),
      seed_(static_cast<uint64_t>(config.seed)),
      is_packed_(is_training ? config.sample_packing : config.eval_sample_packing),
      is_shuffled_(is_training && config.shuffle_before_training),
      is_grouped_(is_training && config.group_by_length && !config.sample_packing),
      pads_to_sequence_len_(config.pad_to_sequence_len.value_or(is_packed_)),
      pad_id_(pad_id) {
  start_epoch(0);
}

std::vector<int32_t> BatchPlan::sample_order(int64_t epoch) const {
  std::vector<int32_t> order(samples_.size());
  std::iota(order.begin(), order.end(), 0);
  if (is_shuffled_) {
    SplitMix64 generator = make_generator(seed_, static_cast<uint64_t>(epoch), kSampleOrder);
    shuffle(order, generator);
  }
  return order;
}

std::vector<BatchPlan::Row> BatchPlan::pack_rows(const std::vector<int32_t>& order) {
  std::vector<Row> rows;
  int64_t num_tokens = 0;
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(group_size_)) {
    const size_t end = std::min(order.size(), begin + static_cast<size_t>(group_size_));
    std::vector<int64_t> lengths;
    for (size_t i = begin; i < end; ++i) {
      lengths.push_back(samples_[static_cast<size_t>(order[i])].length());
      num_tokens += lengths.back();
    }
    Packing packing = pack_first_fit_decreasing(lengths, sequence_len_, bin_size_);
    for (Row& bin : packing.bins) {
      for (int32_t& index : bin) index = order[begin + static_cast<size_t>(index)];
      rows.push_back(std::move(bin));
    }
  }
  if (!rows.empty()) {
    efficiency_ = static_cast<double>(num_tokens) /
                  (static_cast<double>(rows.size()) * static_cast<double>(sequence_len_));
  }
  return rows;
}

void BatchPlan::group_rows_by_length(std::vector<Row>& rows) const {
  const auto length = [this](const Row& row) {
    return samples_[static_cast<size_t>(row[0])].length();
  };
  const auto group = static_cast<size_t>(kBatchesPerLengthGroup * micro_batch_size_);
  for (size_t begin = 0; begin < rows.size(); begin += group) {
    const size_t end = std::min(rows.size(), begin + group);
    std::stable_sort(
        rows.begin() + static_cast<int64_t>(begin), rows.begin() + static_cast<int64_t>(end),
        [&length](const Row& left, const Row& right) { return length(left) > length(right); });
  }
}

void BatchPlan::start_epoch(int64_t epoch) {
  const std::vector<int32_t> order = sample_order(epoch);
  SplitMix64 generator = make_generator(seed_, static_cast<uint64_t>(epoch), kBatchOrder);
  std::vector<Row> rows;
  if (is_packed_) {
    rows = pack_rows(order);
    // First-fit decreasing puts the longest samples into the first bins; training must not.
    if (is_shuffled_) shuffle(rows, generator);
  } else {
    for (int32_t index : order) rows.push_back({index});
    if (is_grouped_) group_rows_by_length(rows);
  }
  batches_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % static_cast<size_t>(micro_batch_size_) == 0) batches_.emplace_back();
    batches_.back().push_back(std::move(rows[i]));
  }
  if (is_grouped_ && is_shuffled_) shuffle(batches_, generator);
}

Batch BatchPlan::batch(int64_t index) const {
  if (index < 0 || index >= num_batches()) {
    throw Error("batch " + std::to_string(index) + " asked of " + std::to_string(num_batches()));
  }
  const std::vector<Row>& rows = batches_[static_cast<size_t>(index)];
  int64_t longest = 0;
  for (const Row& row : rows) {
    int64_t length = 0;
    for (int32_t sample : row) length += samples_[static_cast<size_t>(sample)].length();
    longest = std::max(longest, length);
  }
  int64_t row_length = round_up(longest, kRowMultiple);
  if (longest <= sequence_len_) {
    row_length = pads_to_sequence_len_ ? sequence_len_ : std::min(row_length, sequence_len_);
  }
  return lay_out_rows(samples_, rows, row_length, pad_id_);
}

}  // namespace tune
