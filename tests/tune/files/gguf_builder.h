// Builds GGUF files for tests, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tune/files/gguf.h"

namespace tune_test {

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;

  // `bytes` is the value as the file holds it, behind its type.
  GgufBuilder& entry(std::string_view key, tune::GgufType type, std::string_view bytes) {
    entries_ += gguf_string(key) + raw(static_cast<uint32_t>(type)) + std::string(bytes);
    ++num_entries_;
    return *this;
  }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return entry(key, tune::GgufType::string, gguf_string(value));
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) {
    return entry(key, tune::GgufType::uint32, raw(value));
  }
  GgufBuilder& f32(std::string_view key, float value) {
    return entry(key, tune::GgufType::float32, raw(value));
  }
  GgufBuilder& array(std::string_view key, tune::GgufType type, uint64_t count,
                     std::string_view bytes) {
    return entry(key, tune::GgufType::array,
                 raw(static_cast<uint32_t>(type)) + raw(count) + std::string(bytes));
  }

  // `dims` innermost first, as in the file. The tensor's data follow the ones before, aligned.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t ggml_type,
                      std::string_view data) {
    return tensor_at(name, dims, ggml_type, data_.size(), data);
  }
  GgufBuilder& tensor_at(std::string_view name, const std::vector<uint64_t>& dims,
                         uint32_t ggml_type, uint64_t offset, std::string_view data) {
    tensors_ += gguf_string(name) + raw(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) tensors_ += raw(dim);
    tensors_ += raw(ggml_type) + raw(offset);
    ++num_tensors_;
    data_ += data;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }

  std::string build() const { return build(num_tensors_, num_entries_); }
  // With counts of the caller's own, for files that lie.
  std::string build(uint64_t num_tensors, uint64_t num_entries) const {
    std::string file = "GGUF" + raw(version) + raw(num_tensors) + raw(num_entries);
    file += entries_ + tensors_;
    file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + data_;
  }

 private:
  std::string entries_, tensors_, data_;
  uint64_t num_entries_ = 0, num_tensors_ = 0;
};

inline std::string floats(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace tune_test
