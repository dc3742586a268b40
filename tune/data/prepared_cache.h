// The prepared cache: <dataset_prepared_path>/<key>/rows.bin holds the samples, stats.json what a
// person wants to know of them. The key names everything that changes the content, so an entry is
// never stale; rows.bin carries its own checksum, so a damaged one is only a miss.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/dataset.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// What a key is made of besides the configuration and the tokenizer.
struct KeySource {
  std::string dataset;  // its keys as one text (describe_dataset)
  std::string format;   // RowFormat::fingerprint
  std::vector<std::string> file_hashes;
};

// All keys of an entry that change its rows. The path is not one: the files' content is.
std::string describe_dataset(const DatasetConfig& dataset);

// 64 hexadecimal digits.
std::string prepared_key(const Config& config, const Tokenizer& tokenizer,
                         const std::vector<KeySource>& train, const std::vector<KeySource>& test);

// The samples as bytes and back; none when the bytes are damaged or of another version.
std::string pack_prepared(const PreparedData& data);
std::optional<PreparedData> unpack_prepared(std::string_view bytes);

// None when there is no usable entry; `note` then says so if one was there but damaged.
std::optional<PreparedData> load_prepared(const std::string& folder, std::string& note);
// Each file is written aside and renamed, so that runs side by side see a whole file or none.
// Throws tune::Error when the folder cannot be written.
void store_prepared(const std::string& folder, const PreparedData& data);

}  // namespace tune
