// What the model does with rows of activations beside matrix products, on tensors of any device:
// the SIMD kernels of row_kernels.h in main memory, those of row_kernels.cuh on an NVIDIA GPU
// (gpu_rows.h), LibTorch's operations on another one (device_rows.h). The one place that chooses
// between them. No autograd here: the operations above call these.
#pragma once

#include <torch/types.h>

#include "tune/model/row_kernels.h"
#include "tune/model/row_params.h"

namespace tune::ops {

struct NormResult {
  torch::Tensor sum, normed;
  torch::Tensor rstd;  // f32 [rows]
};
// sum = h + delta (h itself where delta is undefined), normed = sum * rstd * weight; h and delta
// [rows, width] contiguous of one dtype, weight f32 [width].
NormResult norm_rows(const torch::Tensor& h, const torch::Tensor& delta,
                     const torch::Tensor& weight, double eps);

struct NormGradients {
  torch::Tensor dx;
  torch::Tensor d_weight;  // f32, undefined where not asked for
};
// d_sum may be undefined.
NormGradients norm_rows_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                                 const torch::Tensor& sum, const torch::Tensor& weight,
                                 const torch::Tensor& rstd, bool needs_weight);

// silu(gate) * up.
torch::Tensor swiglu_rows(const torch::Tensor& gate, const torch::Tensor& up);
struct SwigluGradients {
  torch::Tensor d_gate, d_up;
};
SwigluGradients swiglu_rows_backward(const torch::Tensor& d_act, const torch::Tensor& gate,
                                     const torch::Tensor& up);

// Rotary embedding of `in` into `out`, which may be the same; cos and sin f32 [rows, head_dim / 2].
void rotate_rows(const torch::Tensor& in, const torch::Tensor& out, const torch::Tensor& cos,
                 const torch::Tensor& sin, int64_t head_dim, float sign);

// -log softmax(logits)[target] of every row, f32 [rows]; with `write_gradient` the logits are
// overwritten by their gradient. targets i64 [rows].
torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& targets,
                                 bool write_gradient);

// out = keep ? in / (1 - probability) : 0, or added to out; the same mask on every device.
void dropout_rows(const torch::Tensor& in, const torch::Tensor& out, rows::DropoutKey key,
                  double probability, bool accumulate);

// One AdamW update of tensors on a GPU, all f32 and contiguous; parameter and moments are written.
void adamw_on_device(const torch::Tensor& parameter, const torch::Tensor& gradient,
                     const torch::Tensor& first, const torch::Tensor& second,
                     const rows::AdamWScalars& scalars);

}  // namespace tune::ops
