#include "tune/files/gguf.h"

#include <array>
#include <cstring>

#include "tune/error.h"

namespace tune {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Element `index` of a value whose elements have a fixed size; nullopt for other types.
std::optional<int64_t> integer_at(const GgufValue& value, uint64_t index) {
  const std::byte* data = value.bytes.data();
  switch (value.type) {
    case GgufType::uint8:
    case GgufType::boolean:
      return load<uint8_t>(data + index);
    case GgufType::int8:
      return load<int8_t>(data + index);
    case GgufType::uint16:
      return load<uint16_t>(data + 2 * index);
    case GgufType::int16:
      return load<int16_t>(data + 2 * index);
    case GgufType::uint32:
      return load<uint32_t>(data + 4 * index);
    case GgufType::int32:
      return load<int32_t>(data + 4 * index);
    case GgufType::uint64:  // beyond 2^63 nothing here has a meaning
    case GgufType::int64:
      return load<int64_t>(data + 8 * index);
    default:
      return std::nullopt;
  }
}

std::optional<double> number_at(const GgufValue& value, uint64_t index) {
  if (value.type == GgufType::float32) return load<float>(value.bytes.data() + 4 * index);
  if (value.type == GgufType::float64) return load<double>(value.bytes.data() + 8 * index);
  if (value.type == GgufType::boolean) return std::nullopt;
  const auto integer = integer_at(value, index);
  return integer ? std::optional(static_cast<double>(*integer)) : std::nullopt;
}

std::string_view string_at(const std::byte* at) {
  return {reinterpret_cast<const char*>(at + 8), load<uint64_t>(at)};
}

[[noreturn]] void wrong_type(const std::string& path, std::string_view key, const GgufValue& value,
                             std::string_view wanted) {
  throw Error(path + ": GGUF key " + std::string(key) + " is " +
              (value.is_array ? "an array of " : "of type ") +
              std::string(gguf_type_name(value.type)) + ", expected " + std::string(wanted));
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  static constexpr std::array<std::string_view, 13> kNames = {
      "uint8",   "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "boolean", "string", "array",  "uint64", "int64",  "float64"};
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : "unknown";
}

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

std::vector<std::string> GgufFile::keys() const { return keys_; }

std::optional<std::string_view> GgufFile::string(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->is_array || found->type != GgufType::string) {
    wrong_type(path(), key, *found, "a string");
  }
  return string_at(found->bytes.data());
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->is_array || found->type == GgufType::boolean || !integer_at(*found, 0)) {
    wrong_type(path(), key, *found, "an integer");
  }
  return integer_at(*found, 0);
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->is_array || !number_at(*found, 0)) wrong_type(path(), key, *found, "a number");
  return number_at(*found, 0);
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->is_array || found->type != GgufType::boolean) {
    wrong_type(path(), key, *found, "a boolean");
  }
  return integer_at(*found, 0) == 1;
}

std::vector<std::string_view> GgufFile::strings(std::string_view key) const {
  std::vector<std::string_view> result;
  const GgufValue* found = value(key);
  if (found == nullptr) return result;
  if (!found->is_array || found->type != GgufType::string) {
    wrong_type(path(), key, *found, "an array of strings");
  }
  result.reserve(found->count);
  const std::byte* at = found->bytes.data();
  for (uint64_t i = 0; i < found->count; ++i) {
    result.push_back(string_at(at));
    at += 8 + result.back().size();
  }
  return result;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  std::vector<int64_t> result;
  const GgufValue* found = value(key);
  if (found == nullptr) return result;
  for (uint64_t i = 0; found->is_array && i < found->count; ++i) {
    const auto element = integer_at(*found, i);
    if (!element) wrong_type(path(), key, *found, "an array of integers");
    result.push_back(*element);
  }
  if (!found->is_array) wrong_type(path(), key, *found, "an array of integers");
  return result;
}

std::vector<double> GgufFile::numbers(std::string_view key) const {
  std::vector<double> result;
  const GgufValue* found = value(key);
  if (found == nullptr) return result;
  for (uint64_t i = 0; found->is_array && i < found->count; ++i) {
    const auto element = number_at(*found, i);
    if (!element) wrong_type(path(), key, *found, "an array of numbers");
    result.push_back(*element);
  }
  if (!found->is_array) wrong_type(path(), key, *found, "an array of numbers");
  return result;
}

const StoredTensor* GgufFile::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::vector<std::string> GgufFile::names() const { return names_; }

}  // namespace tune
