#include "tune/data/prepared_cache.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tune/data/sha256.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"

namespace tune {
namespace fs = std::filesystem;
namespace {

// Changes whenever the same files and keys would give other samples than before.
constexpr int kFormatVersion = 1;
constexpr const char* kRowsFile = "rows.bin";
constexpr const char* kStatsFile = "stats.json";

// Values with their lengths: no two lists of values give the same text.
class KeyText {
 public:
  void add(std::string_view name, std::string_view value) {
    text_.append(name).append("=").append(std::to_string(value.size())).append(":");
    text_.append(value).append("\n");
  }
  void add(std::string_view name, int64_t value) { add(name, std::to_string(value)); }
  void add(std::string_view name, const std::vector<std::string>& values) {
    add(name, static_cast<int64_t>(values.size()));
    for (const std::string& value : values) add(name, value);
  }
  void add(std::string_view name, const std::map<std::string, std::string>& values) {
    add(name, static_cast<int64_t>(values.size()));
    for (const auto& [key, value] : values) {
      add(name, key);
      add(name, value);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void add_tokenizer(const Config& config, const Tokenizer& tokenizer, KeyText& key) {
  key.add("tokenizer", tokenizer.fingerprint());
  const SpecialTokens& special = tokenizer.special();
  key.add("bos", special.bos.value_or(-1));
  key.add("eos", special.eos.value_or(-1));
  key.add("vocab_size", tokenizer.vocab_size());
  key.add("special_tokens", config.special_tokens);
  key.add("tokens", config.tokens);
}

void add_sources(std::string_view name, const std::vector<KeySource>& sources, KeyText& key) {
  key.add(name, static_cast<int64_t>(sources.size()));
  for (const KeySource& source : sources) {
    key.add("dataset", source.dataset);
    key.add("format", source.format);
    key.add("files", source.file_hashes);
  }
}

// Runs side by side may store the same entry; each writes under a name of its own first, so that
// none sees the other's half.
void write_shared_file(const fs::path& path, std::string_view content) {
  static std::atomic<uint64_t> counter{0};
  fs::path own = path;
  own.concat(".").concat(std::to_string(::getpid()));
  own.concat(".").concat(std::to_string(counter++));
  write_file_atomically(own.string(), content);
  std::error_code error;
  fs::rename(own, path, error);
  if (!error) return;
  const std::string cause = error.message();
  fs::remove(own, error);
  throw Error("cannot write " + path.string() + ": " + cause);
}

nlohmann::json stats_json(const PreparedData& data) {
  const DatasetStats& stats = data.stats;
  return {{"rows", stats.num_rows},
          {"train_samples", data.train.size()},
          {"validation_samples", data.validation.size()},
          {"dropped_long", stats.num_dropped_long},
          {"truncated", stats.num_truncated},
          {"dropped_short", stats.num_dropped_short},
          {"dropped_untrainable", stats.num_dropped_untrainable},
          {"tokens", stats.num_tokens},
          {"trainable_tokens", stats.num_trainable},
          {"longest", stats.longest}};
}

}  // namespace

std::string describe_dataset(const DatasetConfig& dataset) {
  KeyText key;
  key.add("type", dataset.type);
  key.add("name", dataset.name);
  key.add("split", dataset.split);
  key.add("ds_type", dataset.ds_type);
  key.add("field", dataset.field);
  key.add("field_messages", dataset.field_messages);
  key.add("message_property_mappings", dataset.message_property_mappings);
  key.add("roles_to_train", dataset.roles_to_train);
  key.add("train_on_eos", dataset.train_on_eos);
  key.add("chat_template", dataset.chat_template);
  return key.text();
}

std::string prepared_key(const Config& config, const Tokenizer& tokenizer,
                         const std::vector<KeySource>& train, const std::vector<KeySource>& test) {
  KeyText key;
  key.add("version", kFormatVersion);
  add_tokenizer(config, tokenizer, key);
  key.add("chat_template", config.chat_template);
  key.add("sequence_len", config.sequence_len);
  key.add("excess_length_strategy", config.excess_length_strategy);
  key.add("train_on_inputs", config.train_on_inputs ? 1 : 0);
  key.add("val_set_size", nlohmann::json(config.val_set_size).dump());
  // Without a split the seed changes nothing that is stored.
  if (config.val_set_size > 0.0) key.add("seed", config.seed);
  add_sources("train", train, key);
  add_sources("test", test, key);
  return sha256_hex(key.text());
}

std::optional<PreparedData> load_prepared(const std::string& folder, std::string& note) {
  const fs::path path = fs::path(folder) / kRowsFile;
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  std::optional<PreparedData> data;
  try {
    data = unpack_prepared(read_file(path.string()));
  } catch (const Error&) {
    // Unreadable is the same to us as damaged.
  }
  if (!data) {
    note = "the prepared data in " + folder + " were damaged and have been built again";
    return std::nullopt;
  }
  data->stats.from_cache = true;
  data->stats.cache_path = folder;
  return data;
}

void store_prepared(const std::string& folder, const PreparedData& data) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error("cannot create the folder " + folder + ": " + error.message());
  const fs::path path(folder);
  write_shared_file(path / kStatsFile, stats_json(data).dump(2) + "\n");
  write_shared_file(path / kRowsFile, pack_prepared(data));
}

}  // namespace tune
