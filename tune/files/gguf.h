// GGUF, llama.cpp's model file: typed metadata, tensor descriptions, aligned data. Versions 2 and
// 3, little-endian. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tune/files/mapped_file.h"
#include "tune/files/tensor_file.h"

namespace tune {

enum class GgufType : uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};
std::string_view gguf_type_name(GgufType type);

// One metadata entry: a scalar (count 1) or an array of `count` elements. `bytes` is the raw
// little-endian value as it stands in the file; strings keep their 8-byte lengths.
struct GgufValue {
  GgufType type = GgufType::uint8;  // of the elements
  bool is_array = false;
  uint64_t count = 1;
  std::span<const std::byte> bytes;
};

// The header is checked completely on opening: counts, lengths, types, alignment and ranges against
// the size of the file; what does not hold is a tune::Error that names the entry.
class GgufFile : public TensorFile {
 public:
  static std::unique_ptr<GgufFile> open(const std::string& path);

  // Metadata. Absent: nullopt or an empty vector. Present with a type that cannot be read this way:
  // tune::Error naming the key and both types. Views live as long as the file.
  bool has_key(std::string_view key) const { return value(key) != nullptr; }
  const GgufValue* value(std::string_view key) const;  // null when absent
  std::vector<std::string> keys() const;               // in the order of the file
  std::optional<std::string_view> string(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;  // every integer type
  std::optional<double> number(std::string_view key) const;    // integers and floats
  std::optional<bool> boolean(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;  // arrays of integers or booleans
  std::vector<double> numbers(std::string_view key) const;

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }

  // Tensors; GGUF's dimensions are innermost first, shapes here outermost first as everywhere.
  const StoredTensor* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  const std::string& path() const override { return map_.path(); }

 private:
  friend class GgufParser;
  explicit GgufFile(MappedFile map) : map_(std::move(map)) {}

  MappedFile map_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<std::string> keys_;
  std::map<std::string, GgufValue, std::less<>> values_;
  std::vector<std::string> names_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

}  // namespace tune
