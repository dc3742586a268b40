#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/safetensors.h"
#include "tune/files/utf8.h"

namespace tune {
namespace {

void check_tensor(const std::string& path, const TensorToWrite& tensor) {
  const auto fail = [&](const std::string& cause) {
    throw Error("cannot write " + path + ": tensor \"" + tensor.name + "\" " + cause);
  };
  if (tensor.name == "__metadata__" || !is_utf8(tensor.name))
    fail("has a name that is not allowed");
  if (block_values(tensor.type) != 1) {
    fail("is of type " + std::string(stored_type_name(tensor.type)) +
         ", which safetensors does not have");
  }
  const auto elements = checked_elements(tensor.shape);
  const auto bytes = elements ? stored_bytes(tensor.type, *elements) : std::nullopt;
  if (!bytes || static_cast<uint64_t>(*bytes) != tensor.bytes.size()) {
    fail("of shape " + shape_text(tensor.shape) + " and type " +
         std::string(stored_type_name(tensor.type)) + " does not take the " +
         std::to_string(tensor.bytes.size()) + " bytes given");
  }
}

// Wide types first, then by name: with the header padded to 8 bytes every tensor is then aligned
// for its type. It is also the reference implementation's order.
std::vector<const TensorToWrite*> in_file_order(std::span<const TensorToWrite> tensors) {
  std::vector<const TensorToWrite*> sorted;
  for (const TensorToWrite& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const int64_t a_bytes = block_bytes(a->type), b_bytes = block_bytes(b->type);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });
  return sorted;
}

std::string header_text(const std::vector<const TensorToWrite*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const TensorToWrite* tensor : tensors) {
    const size_t end = offset + tensor->bytes.size();
    header[tensor->name] = {{"dtype", std::string(stored_type_name(tensor->type))},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::set<std::string_view> names;
  for (const TensorToWrite& tensor : tensors) {
    check_tensor(path, tensor);
    if (!names.insert(tensor.name).second) {
      throw Error("cannot write " + path + ": tensor \"" + tensor.name + "\" is given twice");
    }
  }
  const auto sorted = in_file_order(tensors);
  const std::string header = header_text(sorted, metadata);
  const auto length = static_cast<uint64_t>(header.size());
  FileAside file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const TensorToWrite* tensor : sorted) file.write(tensor->bytes);
  file.commit();
}

}  // namespace tune
