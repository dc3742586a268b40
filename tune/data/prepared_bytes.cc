// rows.bin, little-endian:
//   "RGPREP01" | stats: 8 x i64 | count of train, count of validation: i64 | each sample | SHA-256
//   sample: length u32, kind u8, ids u32 each, then by kind
//     0 mask:     ceil(length / 8) bytes, bit i set = label i is id i, clear = ignored
//     1 explicit: a u32 label each (pretokenized rows may predict other ids than their own)
// The SHA-256 (64 hexadecimal digits) covers all bytes before it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "tune/data/prepared_cache.h"
#include "tune/data/sha256.h"

namespace tune {
namespace {

static_assert(std::endian::native == std::endian::little,
              "rows.bin is written as it lies in memory");

constexpr std::string_view kMagic = "RGPREP01";
constexpr size_t kDigestSize = 64;
enum class LabelKind : uint8_t { mask = 0, explicit_ids = 1 };

template <typename T>
void put(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void put_ids(std::string& bytes, const std::vector<int32_t>& ids) {
  bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
}

bool labels_are_ids(const Sample& sample) {
  for (size_t i = 0; i < sample.labels.size(); ++i) {
    if (sample.labels[i] != kIgnoreLabel && sample.labels[i] != sample.input_ids[i]) return false;
  }
  return true;
}

void put_sample(std::string& bytes, const Sample& sample) {
  const LabelKind kind = labels_are_ids(sample) ? LabelKind::mask : LabelKind::explicit_ids;
  put(bytes, static_cast<uint32_t>(sample.input_ids.size()));
  put(bytes, kind);
  put_ids(bytes, sample.input_ids);
  if (kind == LabelKind::explicit_ids) {
    put_ids(bytes, sample.labels);
    return;
  }
  std::string mask((sample.labels.size() + 7) / 8, '\0');
  for (size_t i = 0; i < sample.labels.size(); ++i) {
    if (sample.labels[i] != kIgnoreLabel) mask[i / 8] |= static_cast<char>(1 << (i % 8));
  }
  bytes += mask;
}

// Reads values in turn; after the first that is not there `is_good` is false and all are zero.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
  bool is_good() const { return is_good_; }
  bool is_at_end() const { return rest_.empty(); }

  std::string_view take(size_t count) {
    if (count > rest_.size()) {
      is_good_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view part = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return part;
  }

  template <typename T>
  T value() {
    T result{};
    const std::string_view part = take(sizeof(T));
    if (!part.empty()) std::memcpy(&result, part.data(), sizeof(T));
    return result;
  }

  std::vector<int32_t> ids(size_t count) {
    const std::string_view part = take(count * sizeof(int32_t));
    std::vector<int32_t> result(part.size() / sizeof(int32_t));
    if (!part.empty()) std::memcpy(result.data(), part.data(), part.size());
    return result;
  }

 private:
  std::string_view rest_;
  bool is_good_ = true;
};

Sample take_sample(ByteReader& reader) {
  const auto length = reader.value<uint32_t>();
  const auto kind = reader.value<LabelKind>();
  Sample sample;
  sample.input_ids = reader.ids(length);
  if (kind == LabelKind::explicit_ids) {
    sample.labels = reader.ids(length);
    return sample;
  }
  const std::string_view mask = reader.take((length + size_t{7}) / 8);
  sample.labels.assign(sample.input_ids.size(), kIgnoreLabel);
  if (!reader.is_good()) return {};
  for (size_t i = 0; i < sample.labels.size(); ++i) {
    if ((mask[i / 8] >> (i % 8) & 1) != 0) sample.labels[i] = sample.input_ids[i];
  }
  return sample;
}

// The counted statistics in the order they are stored.
template <typename Stats, typename Visit>
void visit_counts(Stats& stats, const Visit& visit) {
  visit(stats.num_rows);
  visit(stats.num_dropped_long);
  visit(stats.num_truncated);
  visit(stats.num_dropped_short);
  visit(stats.num_dropped_untrainable);
  visit(stats.num_tokens);
  visit(stats.num_trainable);
  visit(stats.longest);
}

}  // namespace

std::string pack_prepared(const PreparedData& data) {
  std::string bytes(kMagic);
  visit_counts(data.stats, [&bytes](int64_t value) { put(bytes, value); });
  put(bytes, static_cast<int64_t>(data.train.size()));
  put(bytes, static_cast<int64_t>(data.validation.size()));
  for (const Sample& sample : data.train) put_sample(bytes, sample);
  for (const Sample& sample : data.validation) put_sample(bytes, sample);
  return bytes + sha256_hex(bytes);
}

std::optional<PreparedData> unpack_prepared(std::string_view bytes) {
  if (bytes.size() < kMagic.size() + kDigestSize || !bytes.starts_with(kMagic)) return std::nullopt;
  const std::string_view content = bytes.substr(0, bytes.size() - kDigestSize);
  if (sha256_hex(content) != bytes.substr(content.size())) return std::nullopt;
  ByteReader reader(content.substr(kMagic.size()));
  PreparedData data;
  visit_counts(data.stats, [&reader](int64_t& value) { value = reader.value<int64_t>(); });
  const auto num_train = reader.value<int64_t>();
  const auto num_validation = reader.value<int64_t>();
  for (int64_t i = 0; i < num_train && reader.is_good(); ++i) {
    data.train.push_back(take_sample(reader));
  }
  for (int64_t i = 0; i < num_validation && reader.is_good(); ++i) {
    data.validation.push_back(take_sample(reader));
  }
  if (!reader.is_good() || !reader.is_at_end()) return std::nullopt;
  return data;
}

}  // namespace tune
