#include "tune/model/gpu_rows.h"

#include <array>
#include <initializer_list>
#include <memory>

#include "regard/cuda_kernel.h"
#include "tune/model/device.h"
#include "tune/model/row_kernels_text.h"

namespace tune::ops::gpu {
namespace {

// As row_kernels.cuh has them.
constexpr int64_t kRowsPerBlock = 4, kRowThreads = 128, kThreads = 256, kWide = 8;
constexpr int64_t kRowsPerPartial = 64;  // as the CPU sums a norm's weight gradient

std::unique_ptr<regard::CudaKernels> compiled(bool is_bf16, bool is_wide) {
  return std::make_unique<regard::CudaKernels>(
      std::string("#define TUNE_ROW_CONFIG {.is_bf16 = ") + (is_bf16 ? "true" : "false") +
      ", .step = " + (is_wide ? "8" : "1") + "}\n" + std::string(kRowKernelsText));
}

// One text for each element type and step, compiled when one of its kernels is first launched.
const regard::CudaKernels& kernels(bool is_bf16, bool is_wide) {
  static const std::array<std::unique_ptr<regard::CudaKernels>, 4> all = {
      compiled(false, false), compiled(false, true), compiled(true, false), compiled(true, true)};
  return *all[(is_bf16 ? 2u : 0u) + (is_wide ? 1u : 0u)];
}

// Whether all accesses of 16 bytes are aligned: `granule` elements in a row at the least, and every
// tensor begins on 16 bytes.
bool is_wide(int64_t granule, std::initializer_list<torch::Tensor> tensors) {
  for (const torch::Tensor& tensor : tensors) {
    if (tensor.defined() && reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 16 != 0) return false;
  }
  return granule % kWide == 0;
}

const void* pointer(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr() : nullptr;
}

int64_t divided(int64_t count, int64_t size) { return (count + size - 1) / size; }

// What a launch needs beside its parameters: `like` says element type and GPU.
struct Launch {
  const torch::Tensor& like;
  bool is_wide;

  void operator()(const char* name, const regard::CudaGrid& grid, const void* params) const {
    follow_torch(like.device());
    kernels(like.scalar_type() == torch::kBFloat16, is_wide).launch(name, grid, params);
  }
  regard::CudaGrid rows(int64_t num_rows) const {
    return {divided(num_rows, kRowsPerBlock), 1, kRowThreads};
  }
  regard::CudaGrid pieces(int64_t num_elements) const {
    return {divided(num_elements, kThreads * (is_wide ? kWide : 1)), 1, kThreads};
  }
};

torch::Tensor f32_like(const torch::Tensor& tensor, at::IntArrayRef shape) {
  return torch::empty(shape, tensor.options().dtype(torch::kFloat32));
}

torch::Tensor norm_weight_gradient(const torch::Tensor& d_normed, const torch::Tensor& sum,
                                   const torch::Tensor& rstd) {
  const int64_t num_rows = sum.size(0), width = sum.size(1);
  const int64_t num_partials = divided(num_rows, kRowsPerPartial);
  const torch::Tensor partials = f32_like(sum, {num_partials, width});
  const rows::NormWeightParams params{num_rows,
                                      width,
                                      kRowsPerPartial,
                                      pointer(d_normed),
                                      pointer(sum),
                                      rstd.data_ptr<float>(),
                                      partials.data_ptr<float>()};
  Launch{sum, false}("norm_weight_gradient", {divided(width, kThreads), num_partials, kThreads},
                     &params);
  return partials.sum(0);
}

}  // namespace

bool has_row_kernels() {
  static const bool has = regard::why_no_cuda_kernels().empty();
  return has;
}

NormResult norm_rows(const torch::Tensor& h, const torch::Tensor& delta,
                     const torch::Tensor& weight, double eps) {
  const NormResult result{delta.defined() ? torch::empty_like(h) : h, torch::empty_like(h),
                          f32_like(h, {h.size(0)})};
  const rows::NormParams params{h.size(0),
                                h.size(1),
                                pointer(h),
                                pointer(delta),
                                weight.data_ptr<float>(),
                                result.sum.data_ptr(),
                                result.normed.data_ptr(),
                                result.rstd.data_ptr<float>(),
                                static_cast<float>(eps)};
  const Launch launch{h, is_wide(h.size(1), {h, delta, weight})};
  launch("add_rms_norm", launch.rows(h.size(0)), &params);
  return result;
}

NormGradients norm_rows_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                                 const torch::Tensor& sum, const torch::Tensor& weight,
                                 const torch::Tensor& rstd, bool needs_weight) {
  NormGradients result{torch::empty_like(sum), {}};
  const rows::NormBackwardParams params{sum.size(0),
                                        sum.size(1),
                                        pointer(d_normed),
                                        pointer(d_sum),
                                        pointer(sum),
                                        weight.data_ptr<float>(),
                                        rstd.data_ptr<float>(),
                                        result.dx.data_ptr()};
  const Launch launch{sum, is_wide(sum.size(1), {d_normed, d_sum, sum, weight})};
  launch("rms_norm_backward", launch.rows(sum.size(0)), &params);
  if (needs_weight) result.d_weight = norm_weight_gradient(d_normed, sum, rstd);
  return result;
}

torch::Tensor swiglu_rows(const torch::Tensor& gate, const torch::Tensor& up) {
  const torch::Tensor act = torch::empty_like(gate);
  const rows::SwigluParams params{gate.numel(),   nullptr, pointer(gate), pointer(up),
                                  act.data_ptr(), nullptr, nullptr};
  const Launch launch{gate, is_wide(gate.numel(), {gate, up})};
  launch("swiglu", launch.pieces(gate.numel()), &params);
  return act;
}

SwigluGradients swiglu_rows_backward(const torch::Tensor& d_act, const torch::Tensor& gate,
                                     const torch::Tensor& up) {
  const SwigluGradients result{torch::empty_like(gate), torch::empty_like(up)};
  const rows::SwigluParams params{gate.numel(),          pointer(d_act), pointer(gate),
                                  pointer(up),           nullptr,        result.d_gate.data_ptr(),
                                  result.d_up.data_ptr()};
  const Launch launch{gate, is_wide(gate.numel(), {d_act, gate, up})};
  launch("swiglu_backward", launch.pieces(gate.numel()), &params);
  return result;
}

void rotate_rows(const torch::Tensor& in, const torch::Tensor& out, const torch::Tensor& cos,
                 const torch::Tensor& sin, int64_t head_dim, float sign) {
  const rows::RotateParams params{in.size(0),
                                  in.size(1),
                                  head_dim,
                                  pointer(in),
                                  out.data_ptr(),
                                  cos.data_ptr<float>(),
                                  sin.data_ptr<float>(),
                                  sign};
  const Launch launch{in, is_wide(head_dim / 2, {in, out, cos, sin})};
  launch("rotate", launch.pieces(in.numel() / 2), &params);
}

torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& targets,
                                 bool write_gradient) {
  const torch::Tensor losses = f32_like(logits, {logits.size(0)});
  static_assert(sizeof(long long) == sizeof(int64_t));
  const rows::CrossEntropyParams params{
      logits.size(0),           logits.size(1),
      logits.data_ptr(),        reinterpret_cast<const long long*>(targets.data_ptr<int64_t>()),
      losses.data_ptr<float>(), write_gradient};
  const Launch launch{logits, is_wide(logits.size(1), {logits})};
  launch("cross_entropy", launch.rows(logits.size(0)), &params);
  return losses;
}

void dropout_rows(const torch::Tensor& in, const torch::Tensor& out, rows::DropoutKey key,
                  double probability, bool accumulate) {
  const auto rate = static_cast<float>(probability);
  const rows::DropoutParams params{in.numel(),
                                   pointer(in),
                                   out.data_ptr(),
                                   key.low,
                                   key.high,
                                   static_cast<unsigned>(static_cast<double>(rate) * 4294967296.0),
                                   1.0f / (1.0f - rate),
                                   accumulate};
  const Launch launch{in, is_wide(in.numel(), {in, out})};
  launch("dropout", launch.pieces(in.numel()), &params);
}

void adamw(const torch::Tensor& parameter, const torch::Tensor& gradient,
           const torch::Tensor& first, const torch::Tensor& second,
           const rows::AdamWScalars& scalars) {
  const rows::AdamWParams params{parameter.numel(),          parameter.data_ptr<float>(),
                                 gradient.data_ptr<float>(), first.data_ptr<float>(),
                                 second.data_ptr<float>(),   scalars};
  const Launch launch{parameter, false};
  launch("adamw", launch.pieces(parameter.numel()), &params);
}

torch::Tensor expand_nf4(const Nf4Weight& weight, torch::Dtype dtype) {
  const torch::Tensor result =
      torch::empty({weight.rows, weight.columns}, weight.codes.options().dtype(dtype));
  const rows::Nf4Params params{result.numel(),
                               weight.codes.data_ptr<uint8_t>(),
                               weight.maxima.data_ptr<uint8_t>(),
                               weight.nested_scales.data_ptr<float>(),
                               weight.tables.data_ptr<float>(),
                               result.data_ptr(),
                               weight.offset};
  const Launch launch{result, is_wide(result.numel(), {})};
  launch("expand_nf4", launch.pieces(result.numel()), &params);
  return result;
}

}  // namespace tune::ops::gpu
