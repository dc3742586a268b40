#include "tune/model/device_rows.h"

#include <ATen/ATen.h>

namespace tune::ops::device {
namespace {

torch::Tensor as_f32(const torch::Tensor& tensor) { return tensor.to(torch::kFloat32); }

// MurmurHash3's finaliser over the low 32 bits of i64 values, in place; products wrap, and their
// low half is right.
void mix(torch::Tensor& h) {
  constexpr int64_t kLow = 0xFFFFFFFF;
  h.bitwise_xor_(h.bitwise_right_shift(16));
  h.mul_(int64_t{0x85EBCA6B}).bitwise_and_(kLow);
  h.bitwise_xor_(h.bitwise_right_shift(13));
  h.mul_(int64_t{0xC2B2AE35}).bitwise_and_(kLow);
  h.bitwise_xor_(h.bitwise_right_shift(16));
}

}  // namespace

NormResult norm_rows(const torch::Tensor& h, const torch::Tensor& delta,
                     const torch::Tensor& weight, double eps) {
  NormResult result;
  result.sum = delta.defined() ? h + delta : h;
  const torch::Tensor x = as_f32(result.sum);
  const torch::Tensor rstd = x.square().mean(1, true).add_(eps).rsqrt_();
  result.normed = (x * rstd).mul_(weight).to(h.scalar_type());
  result.rstd = rstd.squeeze(1);
  return result;
}

NormGradients norm_rows_backward(const torch::Tensor& d_normed, const torch::Tensor& d_sum,
                                 const torch::Tensor& sum, const torch::Tensor& weight,
                                 const torch::Tensor& rstd, bool needs_weight) {
  const torch::Tensor scale = rstd.unsqueeze(1), dn = as_f32(d_normed);
  const torch::Tensor xhat = as_f32(sum) * scale;
  NormGradients result;
  if (needs_weight) result.d_weight = (dn * xhat).sum(0);
  torch::Tensor dx = dn * weight;
  dx.sub_(xhat * (dx * xhat).mean(1, true)).mul_(scale);
  if (d_sum.defined()) dx.add_(d_sum);
  result.dx = dx.to(sum.scalar_type());
  return result;
}

torch::Tensor swiglu_rows(const torch::Tensor& gate, const torch::Tensor& up) {
  const torch::Tensor x = as_f32(gate);
  return x.sigmoid().mul_(x).mul_(up).to(gate.scalar_type());
}

SwigluGradients swiglu_rows_backward(const torch::Tensor& d_act, const torch::Tensor& gate,
                                     const torch::Tensor& up) {
  const torch::Tensor x = as_f32(gate), da = as_f32(d_act);
  const torch::Tensor s = x.sigmoid();
  SwigluGradients result;
  result.d_up = (x * s).mul_(da).to(gate.scalar_type());
  // d silu(x) / dx = s (1 + x (1 - s))
  const torch::Tensor slope = (1 - s).mul_(x).add_(1).mul_(s);
  result.d_gate = slope.mul_(da).mul_(up).to(gate.scalar_type());
  return result;
}

void rotate_rows(const torch::Tensor& in, const torch::Tensor& out, const torch::Tensor& cos,
                 const torch::Tensor& sin, int64_t head_dim, float sign) {
  const int64_t half = head_dim / 2;
  const torch::Tensor pairs = in.view({in.size(0), -1, 2, half});
  const torch::Tensor a = pairs.select(2, 0), b = pairs.select(2, 1);
  const torch::Tensor c = cos.unsqueeze(1), s = (sin * sign).unsqueeze(1);
  const torch::Tensor first = a * c - b * s, second = b * c + a * s;
  const torch::Tensor to = out.view({in.size(0), -1, 2, half});
  to.select(2, 0).copy_(first);
  to.select(2, 1).copy_(second);
}

torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& targets,
                                 bool write_gradient) {
  torch::Tensor x = as_f32(logits);
  const torch::Tensor columns = targets.unsqueeze(1);
  const torch::Tensor lse = x.logsumexp(1, true);
  const torch::Tensor losses = lse - x.gather(1, columns);
  if (write_gradient) {
    logits.copy_((x - lse).exp_());
    // expm1 keeps a confident target's gradient exact, whatever its probability rounds to.
    logits.scatter_(1, columns, losses.neg().expm1_().to(logits.scalar_type()));
  }
  return losses.squeeze(1);
}

void dropout_rows(const torch::Tensor& in, const torch::Tensor& out, rows::DropoutKey key,
                  double probability, bool accumulate) {
  constexpr int64_t kLow = 0xFFFFFFFF;
  torch::Tensor draw = torch::arange(in.numel(), in.options().dtype(torch::kInt64));
  draw.add_(int64_t{key.low}).bitwise_and_(kLow);
  mix(draw);
  draw.bitwise_xor_(int64_t{key.high});
  mix(draw);
  const auto rate = static_cast<float>(probability);
  const auto threshold = static_cast<int64_t>(static_cast<double>(rate) * 4294967296.0);
  const torch::Tensor keeps = draw.ge_(threshold).view_as(in);
  const torch::Tensor value = as_f32(in).mul(1.0f / (1.0f - rate)).mul_(keeps);
  accumulate ? out.add_(value) : out.copy_(value);
}

void adamw(const torch::Tensor& parameter, const torch::Tensor& gradient,
           const torch::Tensor& first, const torch::Tensor& second, const rows::AdamWScalars& s) {
  const torch::Tensor g = gradient * s.gradient_scale;
  first.add_(g - first, s.one_minus_beta1);
  second.mul_(s.beta2).addcmul_(g, g, s.one_minus_beta2);
  const torch::Tensor denominator = second.sqrt().div_(s.root_correction).add_(s.epsilon);
  parameter.mul_(s.keep).addcdiv_(first, denominator, -s.step_size);
}

torch::Tensor expand_nf4(const Nf4Weight& weight, torch::Dtype dtype) {
  const int64_t total = weight.rows * weight.columns, blocks = weight.maxima.numel();
  const torch::Tensor levels = weight.tables.narrow(0, 0, 16);
  const torch::Tensor code = weight.tables.narrow(0, 16, 256);
  const torch::Tensor scales =
      weight.nested_scales.repeat_interleave(kNf4NestedBlock).narrow(0, 0, blocks);
  const torch::Tensor maxima =
      code.index_select(0, weight.maxima.to(torch::kInt32)).mul_(scales).add_(weight.offset);
  const torch::Tensor nibbles =
      torch::stack({weight.codes.bitwise_right_shift(4), weight.codes.bitwise_and(15)}, 1);
  torch::Tensor values = levels.index_select(0, nibbles.view({-1}).to(torch::kInt32));
  const int64_t padding = blocks * kNf4Block - values.numel();
  if (padding > 0) values = at::constant_pad_nd(values, {0, padding});
  values = values.view({blocks, kNf4Block}).mul(maxima.unsqueeze(1)).view({-1});
  return values.narrow(0, 0, total).view({weight.rows, weight.columns}).to(dtype);
}

}  // namespace tune::ops::device
