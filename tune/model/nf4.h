// NF4: 4-bit weights whose 16 levels are quantiles of a normal distribution, one absolute maximum
// per 64 values, those maxima quantised to 8 bits per 256 ("double quantisation").
// Dettmers et al. 2023, QLoRA (arXiv 2305.14314), sections 3 and Appendix E.
#pragma once

#include <torch/types.h>

namespace tune {

inline constexpr int64_t kNf4Block = 64;         // values that share one maximum
inline constexpr int64_t kNf4NestedBlock = 256;  // maxima that share one scale

struct Nf4Weight {
  int64_t rows = 0, columns = 0;
  torch::Tensor codes;          // u8 [ceil(rows * columns / 2)], first value in the high nibble
  torch::Tensor maxima;         // u8 [blocks], index into the 8-bit dynamic code
  torch::Tensor nested_scales;  // f32 [ceil(blocks / 256)]
  torch::Tensor tables;         // on a GPU: f32, the 16 levels, then the 8-bit code's 256 values
  float offset = 0.0f;          // mean of the maxima, taken off before they are quantised

  // The same weight on `device`.
  Nf4Weight to(const torch::Device& device) const;
  bool defined() const { return codes.defined(); }
  int64_t num_bytes() const;
};

// The 16 levels and the 256 values of the 8-bit code, f32 [272] on `device`.
torch::Tensor nf4_tables(const torch::Device& device);

// `weight`: f32 [rows, columns], contiguous.
Nf4Weight quantize_nf4(const torch::Tensor& weight);
// [rows, columns] of `dtype` (f32 or bf16).
torch::Tensor dequantize_nf4(const Nf4Weight& weight, torch::Dtype dtype);

}  // namespace tune
