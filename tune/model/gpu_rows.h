// row_ops.h on an NVIDIA GPU: the kernels of row_kernels.cuh, compiled at run time, on LibTorch's
// current stream.
#pragma once

#include "tune/model/nf4.h"
#include "tune/model/row_ops.h"

namespace tune::ops::gpu {

// Whether the kernels can run here: a driver and NVRTC were found. Else LibTorch's operations do
// the work (device_rows.h), as on AMD.
bool has_row_kernels();

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
torch::Tensor expand_nf4(const Nf4Weight& weight, torch::Dtype dtype);

}  // namespace tune::ops::gpu
