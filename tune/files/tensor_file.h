// Read-only access to the tensors of a model file, without copying: the file is memory-mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

// How values are stored. Block types are GGUF's: 32 values (q4_0 .. q8_0) or 256 values (q4_k,
// q5_k, q6_k) a block.
enum class StoredType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  u8,
  i16,
  i32,
  i64,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q4_k,
  q5_k,
  q6_k,
};
std::string_view stored_type_name(StoredType type);
// Values in a block and bytes of a block; a plain type is a block of one value.
int64_t block_values(StoredType type);
int64_t block_bytes(StoredType type);
// Bytes of `num_elements` values; nullopt when they are not whole blocks or overflow 63 bits.
std::optional<int64_t> stored_bytes(StoredType type, int64_t num_elements);
// The product of a shape; nullopt when a size is negative or the product overflows 63 bits.
std::optional<int64_t> checked_elements(std::span<const int64_t> shape);
// "[30, 576]", for messages.
std::string shape_text(std::span<const int64_t> shape);

// A tensor in a mapped file; `bytes` stays valid as long as the TensorFile lives. Shape is
// row-major, outermost first.
struct StoredTensor {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  int64_t num_elements() const;
};

// Expands elements [first, first + out.size()) to f32; first and size must be whole blocks. Exact
// for f16 and bf16. Throws tune::Error for a type that has no float value.
void dequantize(const StoredTensor& tensor, int64_t first, std::span<float> out);

class TensorFile {
 public:
  virtual ~TensorFile() = default;
  virtual const StoredTensor* find(std::string_view name) const = 0;  // null when absent
  virtual std::vector<std::string> names() const = 0;
  virtual const std::string& path() const = 0;
};

}  // namespace tune
