// Operations of score and mask programs on vectors in memory: each reads its operands and writes
// its result for a small region of pairs, so that what an operation costs is spread over 8 to 16
// vectors.
//
// Values     f32 as such, int32 as its bits, bool as all ones or zeros.
// Rounding   every result is stored before it is used: no multiplication and addition are fused, so
//            that positions give the bits that the reference's f32 arithmetic gives.
#if defined(REGARD_CPU_PROGRAM_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_PROGRAM_STEPS_INL_H_
#undef REGARD_CPU_PROGRAM_STEPS_INL_H_
#else
#define REGARD_CPU_PROGRAM_STEPS_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/exp2-inl.h"
#include "cpu/register_tile-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "program/graph.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

using IntVec = hn::Vec<I32>;

// Where the values of one node lie: vector (key, v) of a region at data + key * key_step +
// v * vector_step, or, for values of keys, one element at data + key that all lanes share.
struct Source {
  const float* data = nullptr;
  int64_t key_step = 0, vector_step = 0;
  bool is_shared = false;

  HWY_INLINE Vec load(int64_t key, int64_t v) const {
    const F32 d;
    return is_shared ? hn::Set(d, data[key]) : hn::Load(d, data + key * key_step + v * vector_step);
  }
  HWY_INLINE IntVec load_int(int64_t key, int64_t v) const {
    return hn::BitCast(I32(), load(key, v));
  }
};

// keys x vectors; results lie densely in this order.
struct Region {
  int64_t keys = 1, vectors = 1;
  float* at(float* out, int64_t key, int64_t v) const {
    return out + (key * vectors + v) * static_cast<int64_t>(kLanes);
  }
};

// out = f(key, vector) for the whole region. `out` may be an operand: it is read first.
template <class Function>
HWY_INLINE void fill(const Region& region, float* out, const Function& f) {
  for (int64_t key = 0; key < region.keys; ++key) {
    for (int64_t v = 0; v < region.vectors; ++v) {
      hn::Store(f(key, v), F32(), region.at(out, key, v));
    }
  }
}

template <class Function>
HWY_INLINE void fill_int(const Region& region, float* out, const Function& f) {
  fill(region, out, [&](int64_t key, int64_t v) { return hn::BitCast(F32(), f(key, v)); });
}

// Element by element, for what has no vector form here.
template <class Function>
inline void fill_elements(const Region& region, const Source& a, const Source& b, float* out,
                          const Function& f) {
  const F32 d;
  HWY_ALIGN float x[kLanes], y[kLanes];
  fill(region, out, [&](int64_t key, int64_t v) {
    hn::Store(a.load(key, v), d, x);
    hn::Store(b.load(key, v), d, y);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      x[lane] = f(x[lane], y[lane]);
    }
    return hn::Load(d, x);
  });
}

// e^x: Highway's polynomial holds up to 104, where f32 has long become infinite.
HWY_INLINE Vec exp_of(Vec x) {
  const F32 d;
  const Vec infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const Vec y = hn::Exp(d, hn::IfThenElse(hn::Lt(x, hn::Set(d, 89.0f)), x, hn::Zero(d)));
  const Vec large = hn::IfThenElse(hn::Ge(x, hn::Set(d, 88.72284f)), infinity, y);
  return hn::IfThenElse(hn::Eq(x, x), large, x);
}

HWY_INLINE Vec natural_log_of(Vec x) {
  const F32 d;
  const Vec infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const Vec zero = hn::Zero(d);
  const auto is_plain = hn::And(hn::Lt(zero, x), hn::Lt(x, infinity));
  // 0 gives -inf, infinity itself, negative and NaN x - x + NaN.
  const Vec other = hn::IfThenElse(
      hn::Eq(x, zero), hn::Neg(infinity),
      hn::IfThenElse(hn::Eq(x, infinity), x, hn::Set(d, std::numeric_limits<float>::quiet_NaN())));
  return hn::IfThenElse(is_plain, hn::Log(d, hn::IfThenElse(is_plain, x, hn::Set(d, 1.0f))), other);
}

// 2^x over the whole range; exp2_of alone ends below 2^128 and loses NaN to nothing.
HWY_INLINE Vec full_exp2_of(Vec x) {
  const F32 d;
  const Vec below = hn::Min(x, hn::Set(d, 127.0f));
  const Vec y = exp2_of(below);
  const Vec infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const Vec upper = exp2_of(hn::Sub(hn::Min(x, hn::Set(d, 128.0f)), hn::Set(d, 1.0f)));
  const Vec large = hn::IfThenElse(hn::Ge(x, hn::Set(d, 128.0f)), infinity, hn::Add(upper, upper));
  const Vec finite = hn::IfThenElse(hn::Lt(hn::Set(d, 127.0f), x), large, y);
  return hn::IfThenElse(hn::Eq(x, x), finite, x);
}

HWY_INLINE Vec function_of(program::Op op, Vec x) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  switch (op) {
    case program::Op::exp:
      return exp_of(x);
    case program::Op::exp2:
      return full_exp2_of(x);
    case program::Op::log:
      return natural_log_of(x);
    case program::Op::tanh:
      return tanh_of(x);
    case program::Op::sigmoid:
      return hn::Div(one, hn::Add(one, exp_of(hn::Neg(x))));
    case program::Op::sqrt:
      return hn::Sqrt(x);
    case program::Op::rsqrt:
      return hn::Div(one, hn::Sqrt(x));
    default:
      return hn::Floor(x);
  }
}

inline void real_step(program::Op op, const Region& region, const Source& a, const Source& b,
                      float* out) {
  using program::Op;
  switch (op) {
    case Op::negate:
      return fill(region, out, [&](int64_t k, int64_t v) { return hn::Neg(a.load(k, v)); });
    case Op::abs:
      return fill(region, out, [&](int64_t k, int64_t v) { return hn::Abs(a.load(k, v)); });
    case Op::add:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::Add(a.load(k, v), b.load(k, v)); });
    case Op::subtract:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::Sub(a.load(k, v), b.load(k, v)); });
    case Op::multiply:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::Mul(a.load(k, v), b.load(k, v)); });
    case Op::divide:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::Div(a.load(k, v), b.load(k, v)); });
    case Op::min:
      return fill(region, out, [&](int64_t k, int64_t v) {
        const Vec x = a.load(k, v), y = b.load(k, v);
        return hn::IfThenElse(hn::Lt(y, x), y, x);
      });
    case Op::max:
      return fill(region, out, [&](int64_t k, int64_t v) {
        const Vec x = a.load(k, v), y = b.load(k, v);
        return hn::IfThenElse(hn::Lt(x, y), y, x);
      });
    case Op::modulo:
      return fill_elements(region, a, b, out, [](float x, float y) { return std::fmod(x, y); });
    case Op::pow:
      return fill_elements(region, a, b, out, [](float x, float y) { return std::pow(x, y); });
    default:
      break;
  }
  // One loop for each function: a switch inside the loop would be asked for every vector.
  const auto apply = [&](auto constant) {
    fill(region, out, [&](int64_t k, int64_t v) {
      return function_of(decltype(constant)::value, a.load(k, v));
    });
  };
  switch (op) {
    case Op::exp:
      return apply(std::integral_constant<Op, Op::exp>());
    case Op::exp2:
      return apply(std::integral_constant<Op, Op::exp2>());
    case Op::log:
      return apply(std::integral_constant<Op, Op::log>());
    case Op::tanh:
      return apply(std::integral_constant<Op, Op::tanh>());
    case Op::sigmoid:
      return apply(std::integral_constant<Op, Op::sigmoid>());
    case Op::sqrt:
      return apply(std::integral_constant<Op, Op::sqrt>());
    case Op::rsqrt:
      return apply(std::integral_constant<Op, Op::rsqrt>());
    default:
      return apply(std::integral_constant<Op, Op::floor>());
  }
}

// x / y toward zero in one vector; 0 where y is 0. A double holds every int32 and its quotient to
// more bits than the nearest whole number is away, so truncation is exact.
HWY_INLINE IntVec quotient_of(IntVec x, IntVec y) {
  const I32 di;
#if HWY_TARGET == HWY_SCALAR
  const int64_t divisor = hn::GetLane(y);
  const int64_t quotient = divisor == 0 ? 0 : int64_t{hn::GetLane(x)} / divisor;
  return hn::Set(di, static_cast<int32_t>(static_cast<uint32_t>(quotient)));
#else
  const hn::Half<I32> half;
  const hn::Rebind<double, decltype(half)> dd;
  const size_t num_half = hn::Lanes(half);
  HWY_ALIGN int32_t xs[kLanes], ys[kLanes], quotients[kLanes];
  hn::Store(x, di, xs);
  hn::Store(y, di, ys);
  for (size_t i = 0; i < kLanes; i += num_half) {
    const auto quotient = hn::Div(hn::PromoteTo(dd, hn::Load(half, xs + i)),
                                  hn::PromoteTo(dd, hn::Load(half, ys + i)));
    hn::Store(hn::DemoteTo(half, quotient), half, quotients + i);
  }
  const IntVec quotient = hn::Load(di, quotients);
  // -2^31 / -1 wraps to itself.
  const IntVec wrapped = hn::IfThenElse(hn::Eq(y, hn::Set(di, -1)), hn::Neg(x), quotient);
  return hn::IfThenZeroElse(hn::Eq(y, hn::Zero(di)), wrapped);
#endif
}

inline void integer_step(program::Op op, const Region& region, const Source& a, const Source& b,
                         float* out) {
  const I32 di;
  using program::Op;
  const auto with = [&](const auto& f) {
    fill_int(region, out,
             [&](int64_t k, int64_t v) { return f(a.load_int(k, v), b.load_int(k, v)); });
  };
  switch (op) {
    case Op::add:
      return with([](IntVec x, IntVec y) { return hn::Add(x, y); });
    case Op::subtract:
      return with([](IntVec x, IntVec y) { return hn::Sub(x, y); });
    case Op::multiply:
      return with([](IntVec x, IntVec y) { return hn::Mul(x, y); });
    case Op::divide:
      return with([](IntVec x, IntVec y) { return quotient_of(x, y); });
    case Op::modulo:
      return with([&](IntVec x, IntVec y) {
        const IntVec rest = hn::Sub(x, hn::Mul(quotient_of(x, y), y));
        return hn::IfThenZeroElse(hn::Eq(y, hn::Zero(di)), rest);
      });
    case Op::min:
      return with([](IntVec x, IntVec y) { return hn::Min(x, y); });
    case Op::max:
      return with([](IntVec x, IntVec y) { return hn::Max(x, y); });
    case Op::negate:
      return fill_int(region, out, [&](int64_t k, int64_t v) { return hn::Neg(a.load_int(k, v)); });
    default:
      return fill_int(region, out, [&](int64_t k, int64_t v) { return hn::Abs(a.load_int(k, v)); });
  }
}

inline void compare_step(program::Op op, bool is_real, const Region& region, const Source& a,
                         const Source& b, float* out) {
  const F32 d;
  const I32 di;
  using program::Op;
  const auto reals = [&](const auto& f) {
    fill(region, out,
         [&](int64_t k, int64_t v) { return hn::VecFromMask(d, f(a.load(k, v), b.load(k, v))); });
  };
  const auto integers = [&](const auto& f) {
    fill_int(region, out, [&](int64_t k, int64_t v) {
      return hn::VecFromMask(di, f(a.load_int(k, v), b.load_int(k, v)));
    });
  };
  // Bools compare as the integers -1 and 0, with the sides of < and <= exchanged by their callers.
  switch (op) {
    case Op::less:
      return is_real ? reals([](Vec x, Vec y) { return hn::Lt(x, y); })
                     : integers([](IntVec x, IntVec y) { return hn::Lt(x, y); });
    case Op::less_equal:
      return is_real ? reals([](Vec x, Vec y) { return hn::Le(x, y); })
                     : integers([](IntVec x, IntVec y) { return hn::Not(hn::Lt(y, x)); });
    default:
      return is_real ? reals([](Vec x, Vec y) { return hn::Eq(x, y); })
                     : integers([](IntVec x, IntVec y) { return hn::Eq(x, y); });
  }
}

// Conversions, logic and selection; `type` is that of the first operand.
inline void bit_step(program::Op op, ValueType type, const Region& region, const Source& a,
                     const Source& b, const Source& c, float* out) {
  const F32 d;
  const I32 di;
  using program::Op;
  switch (op) {
    case Op::to_integer:
      return fill_int(region, out, [&](int64_t k, int64_t v) {
        return hn::And(a.load_int(k, v), hn::Set(di, 1));
      });
    case Op::to_real:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::ConvertTo(d, a.load_int(k, v)); });
    case Op::to_index:
      return fill_int(region, out, [&](int64_t k, int64_t v) {
        const Vec x = a.load(k, v);
        return hn::ConvertTo(di, hn::IfThenElseZero(hn::Eq(x, x), x));
      });
    case Op::truth:
      return fill(region, out, [&](int64_t k, int64_t v) {
        return type == ValueType::real
                   ? hn::VecFromMask(d, hn::Ne(a.load(k, v), hn::Zero(d)))
                   : hn::BitCast(d, hn::VecFromMask(di, hn::Ne(a.load_int(k, v), hn::Zero(di))));
      });
    case Op::logical_not:
      return fill_int(region, out, [&](int64_t k, int64_t v) { return hn::Not(a.load_int(k, v)); });
    case Op::logical_and:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::And(a.load(k, v), b.load(k, v)); });
    case Op::logical_or:
      return fill(region, out,
                  [&](int64_t k, int64_t v) { return hn::Or(a.load(k, v), b.load(k, v)); });
    default:  // select
      return fill(region, out, [&](int64_t k, int64_t v) {
        return hn::IfThenElse(hn::MaskFromVec(a.load(k, v)), b.load(k, v), c.load(k, v));
      });
  }
}

// Element offsets of a read, each index moved inside its axis: pairs that are masked and branches
// that are not taken may ask for anything.
template <class Strides>
HWY_INLINE IntVec offset_of(const ProgramTensor& tensor, const Source* indices,
                            const Strides& strides, int64_t key, int64_t v) {
  const I32 di;
  IntVec offset = hn::Zero(di);
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    const IntVec last = hn::Set(di, static_cast<int32_t>(tensor.shape[axis] - 1));
    const IntVec inside = hn::Min(hn::Max(indices[axis].load_int(key, v), hn::Zero(di)), last);
    offset = hn::Add(offset, hn::Mul(inside, hn::Set(di, static_cast<int32_t>(strides[axis]))));
  }
  return offset;
}

inline void read_step(const ProgramTensor& tensor, const Region& region, const Source* indices,
                      float* out) {
  if (tensor.is_integer) {
    const auto* data = static_cast<const int32_t*>(tensor.data);
    fill_int(region, out, [&](int64_t k, int64_t v) {
      return hn::GatherIndex(I32(), data, offset_of(tensor, indices, tensor.stride, k, v));
    });
  } else {
    const auto* data = static_cast<const float*>(tensor.data);
    fill(region, out, [&](int64_t k, int64_t v) {
      return hn::GatherIndex(F32(), data, offset_of(tensor, indices, tensor.stride, k, v));
    });
  }
}

// Any operation on operands of `type` (that of its first operand).
inline void run_operation(const program::Node& node, ValueType type, const Region& region,
                          const Source* operands, float* out) {
  using program::Op;
  switch (node.op) {
    case Op::less:
    case Op::less_equal:
    case Op::equal: {
      // true is -1 as bits: bools are ordered the other way round.
      const bool is_swapped = type == ValueType::boolean;
      return compare_step(node.op, type == ValueType::real, region, operands[is_swapped ? 1 : 0],
                          operands[is_swapped ? 0 : 1], out);
    }
    case Op::to_integer:
    case Op::to_real:
    case Op::to_index:
    case Op::truth:
    case Op::logical_not:
    case Op::logical_and:
    case Op::logical_or:
    case Op::select:
      return bit_step(node.op, type, region, operands[0], operands[1], operands[2], out);
    default:
      return node.type == ValueType::real
                 ? real_step(node.op, region, operands[0], operands[1], out)
                 : integer_step(node.op, region, operands[0], operands[1], out);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
