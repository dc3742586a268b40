#include "tune/model/row_ops.h"

#include "tune/model/device_rows.h"
#include "tune/model/gpu_rows.h"
#include "tune/model/tensor_rows.h"

namespace tune::ops {
namespace {

bool is_in_main_memory(const torch::Tensor& tensor) { return tensor.device().is_cpu(); }

// Calls the GPU's kernels, or where they cannot run LibTorch's operations.
template <class Kernel, class Torch, class... Operands>
auto on_gpu(Kernel kernel, Torch by_torch, const Operands&... operands) {
  return gpu::has_row_kernels() ? kernel(operands...) : by_torch(operands...);
}

// Rows whose weight gradients are summed by one thread; partial sums are then added in order, so
// that the result does not depend on the number of threads.
constexpr int64_t kRowsPerPartial = 64;

}  // namespace

NormResult norm_rows(const torch::Tensor& h, const torch::Tensor& delta,
                     const torch::Tensor& weight, double eps) {
  if (!is_in_main_memory(h))
    return on_gpu(gpu::norm_rows, device::norm_rows, h, delta, weight, eps);
  NormResult result;
  result.sum = delta.defined() ? torch::empty_like(h) : h;
  result.normed = torch::empty_like(h);
  result.rstd = torch::empty({h.size(0)}, torch::kFloat32);
  for_rows(h.size(0), h.size(1), [&](rows::Range range) {
    rows::add_rms_norm(matrix_of(h), matrix_of(delta), weight.data_ptr<float>(),
                       static_cast<float>(eps), matrix_of(result.sum), matrix_of(result.normed),
                       result.rstd.data_ptr<float>(), range);
  });
  return result;
}

NormGradients norm_rows_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                                 const torch::Tensor& sum, const torch::Tensor& weight,
                                 const torch::Tensor& rstd, bool needs_weight) {
  if (!is_in_main_memory(sum)) {
    return on_gpu(gpu::norm_rows_backward, device::norm_rows_backward, d_normed, d_sum, sum, weight,
                  rstd, needs_weight);
  }
  const int64_t num_rows = sum.size(0), width = sum.size(1);
  NormGradients result{torch::empty_like(sum), {}};
  const int64_t num_partials = (num_rows + kRowsPerPartial - 1) / kRowsPerPartial;
  torch::Tensor partials;
  if (needs_weight) partials = torch::zeros({num_partials, width}, torch::kFloat32);
  const auto dn = matrix_of(d_normed), ds = matrix_of(d_sum), x = matrix_of(sum),
             dx = matrix_of(result.dx);
  at::parallel_for(0, num_partials, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      float* to = needs_weight ? partials.data_ptr<float>() + p * width : nullptr;
      const rows::Range range{p * kRowsPerPartial, std::min(num_rows, (p + 1) * kRowsPerPartial)};
      rows::rms_norm_backward(dn, ds, x, weight.data_ptr<float>(), rstd.data_ptr<float>(), dx, to,
                              range);
    }
  });
  if (needs_weight) result.d_weight = partials.sum(0);
  return result;
}

torch::Tensor swiglu_rows(const torch::Tensor& gate, const torch::Tensor& up) {
  if (!is_in_main_memory(gate)) return on_gpu(gpu::swiglu_rows, device::swiglu_rows, gate, up);
  const torch::Tensor act = torch::empty_like(gate);
  for_rows(gate.size(0), gate.size(1), [&](rows::Range range) {
    rows::swiglu(matrix_of(gate), matrix_of(up), matrix_of(act), range);
  });
  return act;
}

SwigluGradients swiglu_rows_backward(const torch::Tensor& d_act, const torch::Tensor& gate,
                                     const torch::Tensor& up) {
  if (!is_in_main_memory(gate))
    return on_gpu(gpu::swiglu_rows_backward, device::swiglu_rows_backward, d_act, gate, up);
  const SwigluGradients result{torch::empty_like(gate), torch::empty_like(up)};
  for_rows(gate.size(0), gate.size(1), [&](rows::Range range) {
    rows::swiglu_backward(matrix_of(d_act), matrix_of(gate), matrix_of(up),
                          matrix_of(result.d_gate), matrix_of(result.d_up), range);
  });
  return result;
}

void rotate_rows(const torch::Tensor& in, const torch::Tensor& out, const torch::Tensor& cos,
                 const torch::Tensor& sin, int64_t head_dim, float sign) {
  if (!is_in_main_memory(in))
    return on_gpu(gpu::rotate_rows, device::rotate_rows, in, out, cos, sin, head_dim, sign);
  for_rows(in.size(0), in.size(1), [&](rows::Range range) {
    rows::rotate(matrix_of(in), matrix_of(out), cos.data_ptr<float>(), sin.data_ptr<float>(),
                 head_dim, sign, range);
  });
}

torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& targets,
                                 bool write_gradient) {
  if (!is_in_main_memory(logits)) {
    return on_gpu(gpu::cross_entropy_rows, device::cross_entropy_rows, logits, targets,
                  write_gradient);
  }
  const torch::Tensor losses = torch::empty({logits.size(0)}, torch::kFloat32);
  for_rows(logits.size(0), logits.size(1), [&](rows::Range range) {
    rows::cross_entropy(matrix_of(logits), targets.data_ptr<int64_t>(), losses.data_ptr<float>(),
                        write_gradient, range);
  });
  return losses;
}

void dropout_rows(const torch::Tensor& in, const torch::Tensor& out, rows::DropoutKey key,
                  double probability, bool accumulate) {
  if (!is_in_main_memory(in))
    return on_gpu(gpu::dropout_rows, device::dropout_rows, in, out, key, probability, accumulate);
  for_rows(in.size(0), in.size(1), [&](rows::Range range) {
    rows::dropout(matrix_of(in), matrix_of(out), key, static_cast<float>(probability), accumulate,
                  range);
  });
}

void adamw_on_device(const torch::Tensor& parameter, const torch::Tensor& gradient,
                     const torch::Tensor& first, const torch::Tensor& second,
                     const rows::AdamWScalars& scalars) {
  on_gpu(gpu::adamw, device::adamw, parameter, gradient, first, second, scalars);
}

}  // namespace tune::ops
