// exp2 and tanh over Highway vectors, for scores.
#if defined(REGARD_CPU_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_EXP2_INL_H_
#undef REGARD_CPU_EXP2_INL_H_
#else
#define REGARD_CPU_EXP2_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using Vec = hn::Vec<F32>;

// 2^x for x <= 127, relative error below 2.5e-7 (tests/cpu/exp2_test.cc measures it); exactly 1 at
// 0, exactly 0 below -126 and at -inf, NaN for NaN.
HWY_INLINE Vec exp2_of(Vec x) {
  const F32 d;
  const I32 di;
  // Adding 1.5 * 2^23 leaves round(x) in the low mantissa bits; needs strict f32 arithmetic.
  const Vec magic = hn::Set(d, 12582912.0f);
  const Vec shifted = hn::Add(x, magic);
  const Vec f = hn::Sub(x, hn::Sub(shifted, magic));
  // Minimax of (2^f - 1) / f on [-1/2, 1/2], degree 4: relative error of 2^f 9.2e-8.
  Vec p = hn::Set(d, 0.00132647285f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.00967151299f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.0555073358f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.240222424f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.693147004f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  p = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), p);
}

// tanh, relative error below 5e-7: a Taylor polynomial near 0, where 1 - e^(-2|x|) would cancel.
HWY_INLINE Vec tanh_of(Vec x) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  const Vec magnitude = hn::Abs(x);
  const Vec e = exp2_of(hn::Mul(magnitude, hn::Set(d, -2.8853900817779268f)));  // -2 log2(e)
  const Vec far = hn::CopySign(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
  const Vec x2 = hn::Mul(x, x);
  Vec p = hn::Set(d, -1382.0f / 155925.0f);
  p = hn::MulAdd(p, x2, hn::Set(d, 62.0f / 2835.0f));
  p = hn::MulAdd(p, x2, hn::Set(d, -17.0f / 315.0f));
  p = hn::MulAdd(p, x2, hn::Set(d, 2.0f / 15.0f));
  p = hn::MulAdd(p, x2, hn::Set(d, -1.0f / 3.0f));
  const Vec near = hn::MulAdd(hn::Mul(p, x2), x, x);
  return hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.35f)), near, far);
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
