#include "tune/model/row_kernels.h"

#include <cmath>
#include <cstddef>

#include "tune/splitmix64.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tune/model/row_kernels.cc"
#include "hwy/foreach_target.h"
// after foreach_target.h
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tune::rows::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Bf16 = uint16_t;  // the upper half of an f32

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bf16* from) {
  const hn::Rebind<uint32_t, D> d_bits;
  const hn::Rebind<uint16_t, D> d_half;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d_bits, hn::LoadU(d_half, from))));
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> value, float* to) {
  hn::StoreU(value, d, to);
}
// Rounds to nearest even; a NaN stays one whatever its payload.
template <class D>
HWY_INLINE void store([[maybe_unused]] D d, hn::Vec<D> value, Bf16* to) {
  const hn::Rebind<uint32_t, D> d_bits;
  const hn::Rebind<uint16_t, D> d_half;
  const auto bits = hn::BitCast(d_bits, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d_bits, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d_bits, 0x7FFFu))));
  const auto is_nan = hn::RebindMask(d_bits, hn::IsNaN(value));
  const auto kept = hn::IfThenElse(is_nan, hn::Set(d_bits, 0x7FC0u), rounded);
  hn::StoreU(hn::TruncateTo(d_half, kept), d_half, to);
}

// Calls body(d, i) for whole vectors, then for single lanes.
template <class Body>
HWY_INLINE void each_vector(int64_t size, Body&& body) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d_one;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) body(d, i);
  for (; i < size; ++i) body(d_one, i);
}

// Sum over i of term(d, i); the order of additions depends on the vector length only.
template <class Term>
HWY_INLINE float sum_of(int64_t size, Term&& term) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d_one;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    even = hn::Add(even, term(d, i));
    odd = hn::Add(odd, term(d, i + lanes));
  }
  for (; i + lanes <= size; i += lanes) even = hn::Add(even, term(d, i));
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < size; ++i) sum += hn::GetLane(term(d_one, i));
  return sum;
}

template <class T>
float max_of(const T* row, int64_t size) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const hn::CappedTag<float, 1> d_one;
  auto best = hn::Set(d, -INFINITY);
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) best = hn::Max(best, load(d, row + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < size; ++i) {
    const float value = hn::GetLane(load(d_one, row + i));
    if (value > result) result = value;
  }
  return result;
}

template <class T>
T* row_of(const Matrix& matrix, int64_t row) {
  return matrix.data == nullptr ? nullptr : static_cast<T*>(matrix.data) + row * matrix.width;
}

template <class T>
void add_rms_norm_rows(const Matrix& h, const Matrix& delta, const float* weight, float eps,
                       const Matrix& sum, const Matrix& normed, float* rstd, Range range) {
  const int64_t width = h.width;
  for (int64_t r = range.first; r < range.last; ++r) {
    const T* x = row_of<T>(h, r);
    if (const T* add = row_of<T>(delta, r)) {
      T* to = row_of<T>(sum, r);
      each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
        store(d, hn::Add(load(d, x + i), load(d, add + i)), to + i);
      });
      x = to;  // the rounded sum is what the backward will see
    }
    const float squares = sum_of(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto value = load(d, x + i);
      return hn::Mul(value, value);
    });
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
    rstd[r] = scale;
    T* out = row_of<T>(normed, r);
    each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = hn::Mul(load(d, x + i), hn::Set(d, scale));
      store(d, hn::Mul(xhat, load(d, weight + i)), out + i);
    });
  }
}

template <class T>
void rms_norm_backward_rows(const Matrix& d_normed, const Matrix& d_sum, const Matrix& sum,
                            const float* weight, const float* rstd, const Matrix& dx,
                            float* d_weight, Range range) {
  const int64_t width = sum.width;
  for (int64_t r = range.first; r < range.last; ++r) {
    const T *dn = row_of<T>(d_normed, r), *x = row_of<T>(sum, r), *carried = row_of<T>(d_sum, r);
    const float scale = rstd[r];
    const float dot = sum_of(width, [&](auto d, int64_t i) HWY_ATTR {
      return hn::Mul(hn::Mul(load(d, dn + i), load(d, weight + i)), load(d, x + i));
    });
    const float mean = dot * scale / static_cast<float>(width);  // of dn w xhat
    T* out = row_of<T>(dx, r);
    each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = hn::Mul(load(d, x + i), hn::Set(d, scale));
      const auto grad = load(d, dn + i);
      if (d_weight != nullptr) {
        store(d, hn::MulAdd(grad, xhat, load(d, d_weight + i)), d_weight + i);
      }
      const auto inner = hn::NegMulAdd(xhat, hn::Set(d, mean), hn::Mul(grad, load(d, weight + i)));
      auto value = hn::Mul(inner, hn::Set(d, scale));
      if (carried != nullptr) value = hn::Add(value, load(d, carried + i));
      store(d, value, out + i);
    });
  }
}

template <class D, class V>
HWY_INLINE V sigmoid(D d, V x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(x))));
}

template <class T>
void swiglu_rows(const Matrix& gate, const Matrix& up, const Matrix& act, Range range) {
  const T *g = row_of<T>(gate, range.first), *u = row_of<T>(up, range.first);
  T* out = row_of<T>(act, range.first);
  each_vector((range.last - range.first) * gate.width, [&](auto d, int64_t i) HWY_ATTR {
    const auto x = load(d, g + i);
    store(d, hn::Mul(hn::Mul(x, sigmoid(d, x)), load(d, u + i)), out + i);
  });
}

template <class T>
void swiglu_backward_rows(const Matrix& d_act, const Matrix& gate, const Matrix& up,
                          const Matrix& d_gate, const Matrix& d_up, Range range) {
  const T *g = row_of<T>(gate, range.first), *u = row_of<T>(up, range.first),
          *grad = row_of<T>(d_act, range.first);
  T *dg = row_of<T>(d_gate, range.first), *du = row_of<T>(d_up, range.first);
  each_vector((range.last - range.first) * gate.width, [&](auto d, int64_t i) HWY_ATTR {
    const auto x = load(d, g + i), da = load(d, grad + i);
    const auto s = sigmoid(d, x);
    store(d, hn::Mul(da, hn::Mul(x, s)), du + i);
    // d silu(x) / dx = s (1 + x (1 - s))
    const auto slope = hn::Mul(s, hn::MulAdd(x, hn::Sub(hn::Set(d, 1.0f), s), hn::Set(d, 1.0f)));
    store(d, hn::Mul(hn::Mul(da, load(d, u + i)), slope), dg + i);
  });
}

template <class T>
void rotate_rows(const Matrix& in, const Matrix& out, const float* cos, const float* sin,
                 int64_t head_dim, float sign, Range range) {
  const int64_t half = head_dim / 2;
  for (int64_t r = range.first; r < range.last; ++r) {
    const float *c = cos + r * half, *s = sin + r * half;
    const T* from = row_of<T>(in, r);
    T* to = row_of<T>(out, r);
    for (int64_t h = 0; h < in.width; h += head_dim) {
      each_vector(half, [&](auto d, int64_t i) HWY_ATTR {
        const auto a = load(d, from + h + i), b = load(d, from + h + half + i);
        const auto ci = load(d, c + i), si = hn::Mul(load(d, s + i), hn::Set(d, sign));
        store(d, hn::Sub(hn::Mul(a, ci), hn::Mul(b, si)), to + h + i);
        store(d, hn::Add(hn::Mul(b, ci), hn::Mul(a, si)), to + h + half + i);
      });
    }
  }
}

template <class T>
void cross_entropy_rows(const Matrix& logits, const int64_t* targets, float* losses,
                        bool write_gradient, Range range) {
  const int64_t width = logits.width;
  for (int64_t r = range.first; r < range.last; ++r) {
    T* row = row_of<T>(logits, r);
    const float top = max_of(row, width);
    const float sum = sum_of(width, [&](auto d, int64_t i) HWY_ATTR {
      return hn::Exp(d, hn::Sub(load(d, row + i), hn::Set(d, top)));
    });
    const hn::CappedTag<float, 1> d_one;
    T* at_target = row + targets[r];
    const float target_logit = hn::GetLane(load(d_one, at_target));
    losses[r] = std::log(sum) + top - target_logit;
    if (!write_gradient) continue;
    const float inverse = 1.0f / sum;
    each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto e = hn::Exp(d, hn::Sub(load(d, row + i), hn::Set(d, top)));
      store(d, hn::Mul(e, hn::Set(d, inverse)), row + i);
    });
    // From f32, not from the rounded probability: expm1 keeps a confident target's gradient exact.
    store(d_one, hn::Set(d_one, std::expm1(-losses[r])), at_target);
  }
}

// MurmurHash3's 32-bit finaliser: every input bit reaches every output bit.
template <class D, class V>
HWY_INLINE V mix(D d, V h) {
  h = hn::Xor(h, hn::ShiftRight<16>(h));
  h = hn::Mul(h, hn::Set(d, 0x85EBCA6Bu));
  h = hn::Xor(h, hn::ShiftRight<13>(h));
  h = hn::Mul(h, hn::Set(d, 0xC2B2AE35u));
  return hn::Xor(h, hn::ShiftRight<16>(h));
}

template <class T>
void dropout_rows(const Matrix& in, const Matrix& out, DropoutKey key, float probability,
                  bool accumulate, Range range) {
  const int64_t first = range.first * in.width;
  const T* from = row_of<T>(in, range.first);
  T* to = row_of<T>(out, range.first);
  const uint32_t threshold = static_cast<uint32_t>(static_cast<double>(probability) * 4294967296.0);
  const float scale = 1.0f / (1.0f - probability);
  each_vector((range.last - range.first) * in.width, [&](auto d, int64_t i) HWY_ATTR {
    const hn::Rebind<uint32_t, decltype(d)> d_bits;
    const auto index = hn::Iota(d_bits, static_cast<uint32_t>(first + i));
    const auto once = mix(d_bits, hn::Add(index, hn::Set(d_bits, key.low)));
    const auto draw = mix(d_bits, hn::Xor(once, hn::Set(d_bits, key.high)));
    const auto drops = hn::RebindMask(d, hn::Lt(draw, hn::Set(d_bits, threshold)));
    auto value = hn::IfThenZeroElse(drops, hn::Mul(load(d, from + i), hn::Set(d, scale)));
    if (accumulate) value = hn::Add(value, load(d, to + i));
    store(d, value, to + i);
  });
}

// The entry points of one target: the element type becomes a template argument here.
void add_rms_norm(const Matrix& h, const Matrix& delta, const float* weight, float eps,
                  const Matrix& sum, const Matrix& normed, float* rstd, Range range) {
  const auto rows = h.type == Element::f32 ? add_rms_norm_rows<float> : add_rms_norm_rows<Bf16>;
  rows(h, delta, weight, eps, sum, normed, rstd, range);
}
void rms_norm_backward(const Matrix& d_normed, const Matrix& d_sum, const Matrix& sum,
                       const float* weight, const float* rstd, const Matrix& dx, float* d_weight,
                       Range range) {
  const auto rows =
      sum.type == Element::f32 ? rms_norm_backward_rows<float> : rms_norm_backward_rows<Bf16>;
  rows(d_normed, d_sum, sum, weight, rstd, dx, d_weight, range);
}
void swiglu(const Matrix& gate, const Matrix& up, const Matrix& act, Range range) {
  const auto rows = gate.type == Element::f32 ? swiglu_rows<float> : swiglu_rows<Bf16>;
  rows(gate, up, act, range);
}
void swiglu_backward(const Matrix& d_act, const Matrix& gate, const Matrix& up,
                     const Matrix& d_gate, const Matrix& d_up, Range range) {
  const auto rows =
      gate.type == Element::f32 ? swiglu_backward_rows<float> : swiglu_backward_rows<Bf16>;
  rows(d_act, gate, up, d_gate, d_up, range);
}
void rotate(const Matrix& in, const Matrix& out, const float* cos, const float* sin,
            int64_t head_dim, float sign, Range range) {
  const auto rows = in.type == Element::f32 ? rotate_rows<float> : rotate_rows<Bf16>;
  rows(in, out, cos, sin, head_dim, sign, range);
}
void cross_entropy(const Matrix& logits, const int64_t* targets, float* losses, bool write_gradient,
                   Range range) {
  const auto rows =
      logits.type == Element::f32 ? cross_entropy_rows<float> : cross_entropy_rows<Bf16>;
  rows(logits, targets, losses, write_gradient, range);
}
void dropout(const Matrix& in, const Matrix& out, DropoutKey key, float probability,
             bool accumulate, Range range) {
  const auto rows = in.type == Element::f32 ? dropout_rows<float> : dropout_rows<Bf16>;
  rows(in, out, key, probability, accumulate, range);
}

}  // namespace tune::rows::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tune::rows {

HWY_EXPORT(add_rms_norm);
HWY_EXPORT(rms_norm_backward);
HWY_EXPORT(swiglu);
HWY_EXPORT(swiglu_backward);
HWY_EXPORT(rotate);
HWY_EXPORT(cross_entropy);
HWY_EXPORT(dropout);

void add_rms_norm(const Matrix& h, const Matrix& delta, const float* weight, float eps,
                  const Matrix& sum, const Matrix& normed, float* rstd, Range range) {
  HWY_DYNAMIC_DISPATCH(add_rms_norm)(h, delta, weight, eps, sum, normed, rstd, range);
}
void rms_norm_backward(const Matrix& d_normed, const Matrix& d_sum, const Matrix& sum,
                       const float* weight, const float* rstd, const Matrix& dx, float* d_weight,
                       Range range) {
  HWY_DYNAMIC_DISPATCH(rms_norm_backward)
  (d_normed, d_sum, sum, weight, rstd, dx, d_weight, range);
}
void swiglu(const Matrix& gate, const Matrix& up, const Matrix& act, Range range) {
  HWY_DYNAMIC_DISPATCH(swiglu)(gate, up, act, range);
}
void swiglu_backward(const Matrix& d_act, const Matrix& gate, const Matrix& up,
                     const Matrix& d_gate, const Matrix& d_up, Range range) {
  HWY_DYNAMIC_DISPATCH(swiglu_backward)(d_act, gate, up, d_gate, d_up, range);
}
void rotate(const Matrix& in, const Matrix& out, const float* cos, const float* sin,
            int64_t head_dim, float sign, Range range) {
  HWY_DYNAMIC_DISPATCH(rotate)(in, out, cos, sin, head_dim, sign, range);
}
void cross_entropy(const Matrix& logits, const int64_t* targets, float* losses, bool write_gradient,
                   Range range) {
  HWY_DYNAMIC_DISPATCH(cross_entropy)(logits, targets, losses, write_gradient, range);
}
void dropout(const Matrix& in, const Matrix& out, DropoutKey key, float probability,
             bool accumulate, Range range) {
  HWY_DYNAMIC_DISPATCH(dropout)(in, out, key, probability, accumulate, range);
}

// Neighbouring seeds and streams give unrelated keys.
DropoutKey dropout_key(uint64_t seed, uint64_t stream) {
  const uint64_t bits = SplitMix64::at(seed, stream);
  return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
}

}  // namespace tune::rows
#endif
