#include <array>
#include <string>

#include "tune/error.h"
#include "tune/files/tensor_file.h"

namespace tune {
namespace {

struct TypeInfo {
  std::string_view name;
  int64_t values, bytes;  // of one block
};

// In the order of StoredType. A q4_1 block is f16 scale, f16 minimum and 32 nibbles: 20 bytes; a
// q6_k block is 128 + 64 bytes of values, 16 scales and an f16: 210 bytes.
constexpr std::array<TypeInfo, 18> kTypes = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"F64", 1, 8},
    {"I8", 1, 1},
    {"U8", 1, 1},
    {"I16", 1, 2},
    {"I32", 1, 4},
    {"I64", 1, 8},
    {"BOOL", 1, 1},
    {"Q4_0", 32, 18},
    {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},
    {"Q8_0", 32, 34},
    {"Q4_K", 256, 144},
    {"Q5_K", 256, 176},
    {"Q6_K", 256, 210},
}};

const TypeInfo& info(StoredType type) { return kTypes.at(static_cast<size_t>(type)); }

}  // namespace

std::string_view stored_type_name(StoredType type) { return info(type).name; }
int64_t block_values(StoredType type) { return info(type).values; }
int64_t block_bytes(StoredType type) { return info(type).bytes; }

std::optional<int64_t> stored_bytes(StoredType type, int64_t num_elements) {
  if (num_elements < 0 || num_elements % block_values(type) != 0) return std::nullopt;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(num_elements / block_values(type), block_bytes(type), &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

std::optional<int64_t> checked_elements(std::span<const int64_t> shape) {
  int64_t product = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return product;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

int64_t StoredTensor::num_elements() const { return checked_elements(shape).value_or(0); }

}  // namespace tune
