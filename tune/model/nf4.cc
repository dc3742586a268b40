#include "tune/model/nf4.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tune/model/device_rows.h"
#include "tune/model/gpu_rows.h"

namespace tune {
namespace {

// The NF4 levels of the paper (appendix E): quantiles of N(0, 1) scaled to [-1, 1], zero exact.
constexpr std::array<float, 16> kLevels = {
    -1.0f,          -0.6961928010f, -0.5250730515f, -0.3949174881f,
    -0.2844413817f, -0.1847734302f, -0.0910500363f, 0.0f,
    0.0795802996f,  0.1609302014f,  0.2461123019f,  0.3379152417f,
    0.4407098293f,  0.5626170039f,  0.7229568362f,  1.0f};

// Index of the nearest value of a sorted table; the lower one of a tie.
template <class Table>
uint8_t nearest(const Table& table, float value) {
  const auto above = std::lower_bound(table.begin(), table.end(), value);
  if (above == table.begin()) return 0;
  if (above == table.end()) return static_cast<uint8_t>(table.size() - 1);
  const bool takes_above = *above - value < value - *(above - 1);
  return static_cast<uint8_t>(above - table.begin() - (takes_above ? 0 : 1));
}

// The signed 8-bit "dynamic" code of Dettmers et al. 2021 (arXiv 2110.02861): seven decades below
// 1, decade i with 2^i evenly spaced values, both signs, zero and one.
const std::array<float, 256>& dynamic_code() {
  static const std::array<float, 256> code = [] {
    std::array<float, 256> values{};
    size_t count = 0;
    for (int decade = 0; decade < 7; ++decade) {
      const int steps = 1 << decade;
      for (int i = 0; i < steps; ++i) {
        const double middle = 0.1 + 0.9 * (i + 0.5) / steps;
        const auto value = static_cast<float>(middle * std::pow(10.0, decade - 6));
        values[count++] = value;
        values[count++] = -value;
      }
    }
    values[count++] = 0.0f;
    values[count] = 1.0f;
    std::sort(values.begin(), values.end());
    return values;
  }();
  return code;
}

float largest_magnitude(const float* values, int64_t count) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

// Takes the mean off, then 8 bits a maximum with one scale per 256.
void quantize_maxima(std::vector<float>& maxima, Nf4Weight& result) {
  const auto blocks = static_cast<int64_t>(maxima.size());
  double mean = 0.0;
  for (const float value : maxima) mean += value;
  result.offset = static_cast<float>(mean / static_cast<double>(std::max<int64_t>(1, blocks)));
  for (float& value : maxima) value -= result.offset;
  const int64_t groups = (blocks + kNf4NestedBlock - 1) / kNf4NestedBlock;
  result.maxima = torch::empty({blocks}, torch::kUInt8);
  result.nested_scales = torch::empty({groups}, torch::kFloat32);
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = g * kNf4NestedBlock, last = std::min(blocks, first + kNf4NestedBlock);
    const float scale = largest_magnitude(maxima.data() + first, last - first);
    result.nested_scales.data_ptr<float>()[g] = scale;
    for (int64_t b = first; b < last; ++b) {
      const float relative = scale > 0.0f ? maxima[static_cast<size_t>(b)] / scale : 0.0f;
      result.maxima.data_ptr<uint8_t>()[b] = nearest(dynamic_code(), relative);
    }
  }
}

// Both values of every byte: table[byte] = {high nibble's level, low nibble's level}.
using LevelPairs = std::array<std::array<float, 2>, 256>;
const LevelPairs& level_pairs() {
  static const LevelPairs pairs = [] {
    LevelPairs table{};
    for (size_t byte = 0; byte < 256; ++byte)
      table[byte] = {kLevels[byte >> 4], kLevels[byte & 15]};
    return table;
  }();
  return pairs;
}

float block_maximum(const Nf4Weight& weight, int64_t block) {
  const float relative = dynamic_code()[weight.maxima.data_ptr<uint8_t>()[block]];
  return relative * weight.nested_scales.data_ptr<float>()[block / kNf4NestedBlock] + weight.offset;
}

template <class T>
void expand_blocks(const Nf4Weight& weight, T* out, int64_t first_block, int64_t last_block) {
  const uint8_t* codes = weight.codes.data_ptr<uint8_t>();
  const LevelPairs& pairs = level_pairs();
  const int64_t total = weight.rows * weight.columns;
  for (int64_t block = first_block; block < last_block; ++block) {
    const float maximum = block_maximum(weight, block);
    const int64_t first = block * kNf4Block, last = std::min(total, first + kNf4Block);
    for (int64_t i = first; i < last; i += 2) {
      const auto& pair = pairs[codes[i / 2]];
      out[i] = static_cast<T>(pair[0] * maximum);
      if (i + 1 < last) out[i + 1] = static_cast<T>(pair[1] * maximum);
    }
  }
}

}  // namespace

torch::Tensor nf4_tables(const torch::Device& device) {
  const torch::Tensor host =
      torch::empty({static_cast<int64_t>(kLevels.size() + dynamic_code().size())}, torch::kFloat32);
  auto* to = std::copy(kLevels.begin(), kLevels.end(), host.data_ptr<float>());
  std::copy(dynamic_code().begin(), dynamic_code().end(), to);
  return host.to(device);
}

Nf4Weight Nf4Weight::to(const torch::Device& device) const {
  Nf4Weight result = *this;
  result.codes = codes.to(device);
  result.maxima = maxima.to(device);
  result.nested_scales = nested_scales.to(device);
  if (!device.is_cpu()) result.tables = nf4_tables(device);
  return result;
}

int64_t Nf4Weight::num_bytes() const {
  return codes.numel() + maxima.numel() + 4 * nested_scales.numel() + 4;
}

Nf4Weight quantize_nf4(const torch::Tensor& weight) {
  Nf4Weight result;
  result.rows = weight.size(0);
  result.columns = weight.size(1);
  const int64_t total = weight.numel(), blocks = (total + kNf4Block - 1) / kNf4Block;
  result.codes = torch::zeros({(total + 1) / 2}, torch::kUInt8);
  const float* values = weight.data_ptr<float>();
  uint8_t* codes = result.codes.data_ptr<uint8_t>();
  std::vector<float> maxima(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 256, [&](int64_t first_block, int64_t last_block) {
    for (int64_t block = first_block; block < last_block; ++block) {
      const int64_t first = block * kNf4Block, last = std::min(total, first + kNf4Block);
      const float maximum = largest_magnitude(values + first, last - first);
      maxima[static_cast<size_t>(block)] = maximum;
      const float inverse = maximum > 0.0f ? 1.0f / maximum : 0.0f;
      for (int64_t i = first; i < last; ++i) {
        const uint8_t code = nearest(kLevels, values[i] * inverse);
        codes[i / 2] |= static_cast<uint8_t>(i % 2 == 0 ? code << 4 : code);
      }
    }
  });
  quantize_maxima(maxima, result);
  return result;
}

torch::Tensor dequantize_nf4(const Nf4Weight& weight, torch::Dtype dtype) {
  if (!weight.codes.device().is_cpu()) {
    return ops::gpu::has_row_kernels() ? ops::gpu::expand_nf4(weight, dtype)
                                       : ops::device::expand_nf4(weight, dtype);
  }
  const torch::Tensor result = torch::empty({weight.rows, weight.columns}, dtype);
  at::parallel_for(0, weight.maxima.numel(), 256, [&](int64_t first, int64_t last) {
    if (dtype == torch::kBFloat16) {
      expand_blocks(weight, result.data_ptr<at::BFloat16>(), first, last);
    } else {
      expand_blocks(weight, result.data_ptr<float>(), first, last);
    }
  });
  return result;
}

}  // namespace tune
