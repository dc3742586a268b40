// row_ops.h in LibTorch's operations, for memory that the SIMD kernels cannot read: the same
// formulas in f32 over f32 or bf16 storage. They run on any device, which is how they are tested.
#pragma once

#include "tune/model/nf4.h"
#include "tune/model/row_ops.h"

namespace tune::ops::device {

NormResult norm_rows(const torch::Tensor& h, const torch::Tensor& delta,
                     const torch::Tensor& weight, double eps);
NormGradients norm_rows_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                                 const torch::Tensor& sum, const torch::Tensor& weight,
                                 const torch::Tensor& rstd, bool needs_weight);
torch::Tensor swiglu_rows(const torch::Tensor& gate, const torch::Tensor& up);
SwigluGradients swiglu_rows_backward(const torch::Tensor& d_act, const torch::Tensor& gate,
                                     const torch::Tensor& up);
void rotate_rows(const torch::Tensor& in, const torch::Tensor& out, const torch::Tensor& cos,
                 const torch::Tensor& sin, int64_t head_dim, float sign);
torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& targets,
                                 bool write_gradient);
void dropout_rows(const torch::Tensor& in, const torch::Tensor& out, rows::DropoutKey key,
                  double probability, bool accumulate);
void adamw(const torch::Tensor& parameter, const torch::Tensor& gradient,
           const torch::Tensor& first, const torch::Tensor& second,
           const rows::AdamWScalars& scalars);
// Needs weight.tables.
torch::Tensor expand_nf4(const Nf4Weight& weight, torch::Dtype dtype);

}  // namespace tune::ops::device
