#include "tune/files/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/json_text.h"
#include "tune/files/mapped_file.h"

namespace tune {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

// Without exceptions: a folder that may not be read says so when a file in it is opened.
bool is_there(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::optional<StoredType> stored_type_of(std::string_view dtype) {
  for (const StoredType type :
       {StoredType::f32, StoredType::f16, StoredType::bf16, StoredType::f64, StoredType::i8,
        StoredType::u8, StoredType::i16, StoredType::i32, StoredType::i64, StoredType::boolean}) {
    if (stored_type_name(type) == dtype) return type;
  }
  return std::nullopt;
}

class SafetensorsFile : public TensorFile {
 public:
  explicit SafetensorsFile(const std::string& path) : map_(path) {
    const json header = read_header();
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        check_metadata(entry);
      } else {
        add_tensor(name, entry);
      }
    }
    check_ranges();
  }

  const StoredTensor* find(std::string_view name) const override {
    const auto it = tensors_.find(name);
    return it == tensors_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : tensors_) result.push_back(name);
    return result;
  }
  const std::string& path() const override { return map_.path(); }

 private:
  [[noreturn]] void fail(const std::string& cause) const {
    throw Error("broken safetensors file " + path() + ": " + cause);
  }

  json read_header() {
    const auto file = map_.bytes();
    if (file.size() < 8) {
      fail("it has " + std::to_string(file.size()) + " bytes, the header's length alone takes 8");
    }
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    if (length > kMaxHeaderBytes) {
      fail("its first 8 bytes give a header of " + std::to_string(length) +
           " bytes, at most 100000000 are allowed; this is no safetensors file");
    }
    if (length > file.size() - 8) {
      fail("its header has " + std::to_string(length) + " bytes, the file ends after " +
           std::to_string(file.size() - 8) + "; it is truncated, download it again");
    }
    const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
    if (text.empty() || text.front() != '{') fail("its header is not a JSON object");
    data_ = file.subspan(8 + length);
    return parse_json_strictly(text, "header of " + path());
  }

  void check_metadata(const json& entry) const {
    if (!entry.is_object()) fail("__metadata__ is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail("__metadata__ entry \"" + key + "\" is not a text");
    }
  }

  void add_tensor(const std::string& name, const json& entry) {
    const std::string what = "tensor \"" + name + "\"";
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
        !entry.contains("shape") || !entry.contains("data_offsets")) {
      fail(what + " must have exactly dtype, shape and data_offsets");
    }
    StoredTensor tensor;
    tensor.name = name;
    tensor.type = read_type(what, entry["dtype"]);
    tensor.shape = read_sizes(what + " shape", entry["shape"]);
    const auto offsets = read_sizes(what + " data_offsets", entry["data_offsets"]);
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fail(what + " has data_offsets " + shape_text(offsets) + ", two rising numbers are needed");
    }
    if (static_cast<uint64_t>(offsets[1]) > data_.size()) {
      fail(what + " ends at byte " + std::to_string(offsets[1]) + " of the data, the file has " +
           std::to_string(data_.size()) + "; it is truncated or damaged, download it again");
    }
    const auto elements = checked_elements(tensor.shape);
    const auto bytes = elements ? stored_bytes(tensor.type, *elements) : std::nullopt;
    if (!bytes || *bytes != offsets[1] - offsets[0]) {
      fail(what + " of shape " + shape_text(tensor.shape) + " and type " +
           std::string(stored_type_name(tensor.type)) + " does not fill its " +
           std::to_string(offsets[1] - offsets[0]) + " bytes");
    }
    tensor.bytes = data_.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(*bytes));
    tensors_.emplace(name, std::move(tensor));
  }

  StoredType read_type(const std::string& what, const json& value) const {
    const auto type = value.is_string() ? stored_type_of(value.get<std::string>()) : std::nullopt;
    if (!type) {
      fail(what + " has dtype " + value.dump() +
           "; F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL are read");
    }
    return *type;
  }

  std::vector<int64_t> read_sizes(const std::string& what, const json& list) const {
    std::vector<int64_t> sizes;
    if (!list.is_array()) fail(what + " is not a list");
    for (const json& size : list) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX) {
        fail(what + " holds " + size.dump() + ", whole numbers from 0 are allowed");
      }
      sizes.push_back(size.get<int64_t>());
    }
    return sizes;
  }

  // The format allows neither overlaps nor holes, also not at the end.
  void check_ranges() const {
    std::vector<const StoredTensor*> sorted;
    for (const auto& [name, tensor] : tensors_) sorted.push_back(&tensor);
    const auto range = [this](const StoredTensor& tensor) {
      const auto begin = static_cast<uint64_t>(tensor.bytes.data() - data_.data());
      return std::pair(begin, begin + tensor.bytes.size());
    };
    std::sort(sorted.begin(), sorted.end(),
              [&](const StoredTensor* a, const StoredTensor* b) { return range(*a) < range(*b); });
    uint64_t end = 0;
    for (const StoredTensor* tensor : sorted) {
      const auto [begin, tensor_end] = range(*tensor);
      if (begin != end) {
        fail("tensor \"" + tensor->name + "\" begins at byte " + std::to_string(begin) +
             " of the data, " + (begin < end ? "inside the one before it" : "after a hole") +
             " that ends at " + std::to_string(end));
      }
      end = tensor_end;
    }
    if (end != data_.size()) {
      fail("its tensors end at byte " + std::to_string(end) + " of the data, the file has " +
           std::to_string(data_.size()));
    }
  }

  MappedFile map_;
  std::span<const std::byte> data_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

// Several files that the index of a folder makes one.
class ShardedSafetensors : public TensorFile {
 public:
  ShardedSafetensors(const std::string& folder, const std::string& index_path) : path_(folder) {
    const json index = parse_json_strictly(read_file(index_path), index_path);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      throw Error(index_path + ": it has no \"weight_map\" of tensor names to files");
    }
    for (const auto& [name, shard] : index["weight_map"].items()) {
      const TensorFile& file = open_shard(index_path, name, shard);
      const StoredTensor* tensor = file.find(name);
      if (tensor == nullptr) {
        throw Error(index_path + ": tensor \"" + name + "\" should be in " + file.path() +
                    " and is not; index and shards are of different downloads");
      }
      tensors_.emplace(name, tensor);
    }
  }

  const StoredTensor* find(std::string_view name) const override {
    const auto it = tensors_.find(name);
    return it == tensors_.end() ? nullptr : it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : tensors_) result.push_back(name);
    return result;
  }
  const std::string& path() const override { return path_; }

 private:
  const TensorFile& open_shard(const std::string& index_path, const std::string& tensor,
                               const json& shard) {
    // Only names: an index must not make us open files elsewhere.
    if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos) {
      throw Error(index_path + ": the file of tensor \"" + tensor + "\" is " + shard.dump() +
                  ", a file name without folders is needed");
    }
    const std::string name = shard.get<std::string>();
    const auto it = shards_.find(name);
    if (it != shards_.end()) return *it->second;
    const std::string path = path_ + "/" + name;
    if (!is_there(path)) {
      throw Error("shard " + path + " is missing (tensor \"" + tensor + "\" of " + index_path +
                  " is in it); download the model again");
    }
    return *shards_.emplace(name, open_safetensors(path)).first->second;
  }

  std::string path_;
  std::map<std::string, std::unique_ptr<TensorFile>> shards_;
  std::map<std::string, const StoredTensor*, std::less<>> tensors_;
};

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const std::string& path) {
  return std::make_unique<SafetensorsFile>(path);
}

std::unique_ptr<TensorFile> open_safetensors_folder(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  const std::string index = single + ".index.json";
  if (is_there(single)) return open_safetensors(single);
  if (is_there(index)) return std::make_unique<ShardedSafetensors>(folder, index);
  if (is_there(folder + "/pytorch_model.bin") ||
      is_there(folder + "/pytorch_model.bin.index.json")) {
    throw Error(folder +
                " holds pytorch_model.bin only, which is not read: save the model as "
                "safetensors (Transformers: save_pretrained)");
  }
  throw Error(folder + " has neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace tune
