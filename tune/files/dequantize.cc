// Expanding stored values to f32. Block layouts: ggml's block_q*_* structures
// (https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h); a product is rounded before a
// minimum is added, as there, so this file is compiled without fused multiply-add.
#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "tune/error.h"
#include "tune/files/tensor_file.h"

namespace tune {
namespace {

using Byte = unsigned char;

template <typename T>
T load(const Byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Exact for every f16, subnormals included, whatever the processor's flush-to-zero flags say.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 31U;
  const uint32_t mantissa = half & 0x3FFU;
  const uint32_t rebias = exponent == 31 ? 224U : 112U;  // 255 - 31 for inf and NaN, else 127 - 15
  const uint32_t normal = ((exponent + rebias) << 23) | (mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24F;
  return std::bit_cast<float>(sign | (exponent == 0 ? std::bit_cast<uint32_t>(tiny) : normal));
}

inline float load_half(const Byte* from) { return half_to_float(load<uint16_t>(from)); }

void expand_f32(const Byte* in, float* out) { std::memcpy(out, in, sizeof(float)); }
void expand_f16(const Byte* in, float* out) { *out = load_half(in); }
void expand_bf16(const Byte* in, float* out) {
  *out = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(in)) << 16);
}
void expand_f64(const Byte* in, float* out) { *out = static_cast<float>(load<double>(in)); }

// The 32-value types: low nibbles are values 0..15, high nibbles 16..31.
void expand_q4_0(const Byte* in, float* out) {
  const float scale = load_half(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>((in[2 + i] & 15) - 8);
    out[i + 16] = scale * static_cast<float>((in[2 + i] >> 4) - 8);
  }
}

void expand_q4_1(const Byte* in, float* out) {
  const float scale = load_half(in), minimum = load_half(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(in[4 + i] & 15) + minimum;
    out[i + 16] = scale * static_cast<float>(in[4 + i] >> 4) + minimum;
  }
}

// q5: bit i of a 32-bit word is the fifth bit of value i.
void unpack_q5(const Byte* high, const Byte* low, std::array<int, 32>& values) {
  const auto bits = load<uint32_t>(high);
  for (int i = 0; i < 16; ++i) {
    values[i] = (low[i] & 15) | static_cast<int>(((bits >> i) & 1U) << 4);
    values[i + 16] = (low[i] >> 4) | static_cast<int>(((bits >> (i + 16)) & 1U) << 4);
  }
}

void expand_q5_0(const Byte* in, float* out) {
  const float scale = load_half(in);
  std::array<int, 32> values;
  unpack_q5(in + 2, in + 6, values);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(values[i] - 16);
}

void expand_q5_1(const Byte* in, float* out) {
  const float scale = load_half(in), minimum = load_half(in + 2);
  std::array<int, 32> values;
  unpack_q5(in + 4, in + 8, values);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(values[i]) + minimum;
}

void expand_q8_0(const Byte* in, float* out) {
  const float scale = load_half(in);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(static_cast<signed char>(in[2 + i]));
  }
}

// The 8 scales and 8 minima of a q4_k or q5_k block, 6 bits each in 12 bytes: sub-blocks 0..3 lie
// in the low bits of bytes 0..3 (scales) and 4..7 (minima); 4..7 have their low nibbles in
// bytes 8..11 and their two top bits above those of 0..3.
struct SubBlockScale {
  float scale, minimum;
};

SubBlockScale sub_block_scale(const Byte* in, int j) {
  const Byte* packed = in + 4;
  const int scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
  const int minimum = j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
  return {load_half(in) * static_cast<float>(scale),
          load_half(in + 2) * static_cast<float>(minimum)};
}

void expand_q4_k(const Byte* in, float* out) {
  const Byte* low = in + 16;
  for (int j = 0; j < 8; ++j, out += 32) {
    const SubBlockScale s = sub_block_scale(in, j);
    const Byte* nibbles = low + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      out[i] = s.scale * static_cast<float>((nibbles[i] >> shift) & 15) - s.minimum;
    }
  }
}

// As q4_k; bit j of high[i] is the fifth bit of value i of sub-block j.
void expand_q5_k(const Byte* in, float* out) {
  const Byte* high = in + 16;
  const Byte* low = in + 48;
  for (int j = 0; j < 8; ++j, out += 32) {
    const SubBlockScale s = sub_block_scale(in, j);
    const Byte* nibbles = low + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      const int value = ((nibbles[i] >> shift) & 15) | (((high[i] >> j) & 1) << 4);
      out[i] = s.scale * static_cast<float>(value) - s.minimum;
    }
  }
}

// Two halves of 128 values in four runs of 32; a scale for every 16 values. Run r has its low
// nibbles in bytes 32 * (r % 2) of the half and its two top bits at bit 2 r.
void expand_q6_k(const Byte* in, float* out) {
  const float scale = load_half(in + 208);
  for (int run = 0; run < 8; ++run, out += 32) {
    const int half = run / 4, r = run % 4;
    const Byte* low = in + 64 * half + 32 * (r % 2);
    const Byte* high = in + 128 + 32 * half;
    const int low_shift = 4 * (r / 2), high_shift = 2 * r;
    const Byte* scales = in + 192 + 2 * run;
    const std::array<float, 2> scaled = {
        scale * static_cast<float>(static_cast<signed char>(scales[0])),
        scale * static_cast<float>(static_cast<signed char>(scales[1]))};
    for (int i = 0; i < 32; ++i) {
      const int value = ((low[i] >> low_shift) & 15) | (((high[i] >> high_shift) & 3) << 4);
      out[i] = scaled[i / 16] * static_cast<float>(value - 32);
    }
  }
}

using Expand = void (*)(const Byte*, float*);

// Template arguments, so that the block's loop is inlined into the loop over blocks and the plain
// types become one vector loop.
template <Expand kExpand, int kValues, int kBytes>
void expand_blocks(const Byte* in, std::span<float> out) {
  const int64_t num_blocks = static_cast<int64_t>(out.size()) / kValues;
  for (int64_t i = 0; i < num_blocks; ++i) kExpand(in + i * kBytes, out.data() + i * kValues);
}

using ExpandAll = void (*)(const Byte*, std::span<float>);

// Null for a type that has no float value.
ExpandAll expander(StoredType type) {
  switch (type) {
    case StoredType::f32:
      return expand_blocks<expand_f32, 1, 4>;
    case StoredType::f16:
      return expand_blocks<expand_f16, 1, 2>;
    case StoredType::bf16:
      return expand_blocks<expand_bf16, 1, 2>;
    case StoredType::f64:
      return expand_blocks<expand_f64, 1, 8>;
    case StoredType::q4_0:
      return expand_blocks<expand_q4_0, 32, 18>;
    case StoredType::q4_1:
      return expand_blocks<expand_q4_1, 32, 20>;
    case StoredType::q5_0:
      return expand_blocks<expand_q5_0, 32, 22>;
    case StoredType::q5_1:
      return expand_blocks<expand_q5_1, 32, 24>;
    case StoredType::q8_0:
      return expand_blocks<expand_q8_0, 32, 34>;
    case StoredType::q4_k:
      return expand_blocks<expand_q4_k, 256, 144>;
    case StoredType::q5_k:
      return expand_blocks<expand_q5_k, 256, 176>;
    case StoredType::q6_k:
      return expand_blocks<expand_q6_k, 256, 210>;
    default:
      return nullptr;
  }
}

void check_range(const StoredTensor& tensor, int64_t first, std::span<float> out) {
  const int64_t values = block_values(tensor.type);
  const auto count = static_cast<int64_t>(out.size());
  const int64_t elements = tensor.num_elements();
  if (first < 0 || first > elements || count > elements - first) {
    throw Error("tensor " + tensor.name + ": elements " + std::to_string(first) + " to " +
                std::to_string(first + count) + " asked for, it has " + std::to_string(elements));
  }
  if (first % values != 0 || count % values != 0) {
    throw Error("tensor " + tensor.name + ": " + std::to_string(count) + " elements from " +
                std::to_string(first) + " are not whole blocks of " + std::to_string(values) +
                " values (" + std::string(stored_type_name(tensor.type)) + ")");
  }
  const auto end = stored_bytes(tensor.type, first + count);
  if (!end || static_cast<uint64_t>(*end) > tensor.bytes.size()) {
    throw Error("tensor " + tensor.name + ": its " + std::to_string(tensor.bytes.size()) +
                " bytes do not hold shape " + shape_text(tensor.shape));
  }
}

}  // namespace

void dequantize(const StoredTensor& tensor, int64_t first, std::span<float> out) {
  const ExpandAll expand = expander(tensor.type);
  if (expand == nullptr) {
    throw Error("tensor " + tensor.name + " is stored as " +
                std::string(stored_type_name(tensor.type)) +
                ", which has no float value; weights are F32, F16, BF16, F64 or a GGUF block type");
  }
  check_range(tensor, first, out);
  const auto* in = reinterpret_cast<const Byte*>(tensor.bytes.data());
  const int64_t offset = first / block_values(tensor.type) * block_bytes(tensor.type);
  expand(in + offset, out);
}

}  // namespace tune
