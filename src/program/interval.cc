#include "program/interval.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "program/arithmetic.h"
#include "program/bound.h"

namespace regard::program {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kInt32Lowest = std::numeric_limits<int32_t>::min();
constexpr double kInt32Highest = std::numeric_limits<int32_t>::max();
// Relative error of exp, log, tanh ... in f32 is below 16 units of 2^-24 everywhere; taken wider.
constexpr double kFunctionError = 4e-6;

Interval truth(bool can_be_true, bool can_be_false) {
  return {can_be_false ? 0.0 : 1.0, can_be_true ? 1.0 : 0.0, false};
}
Interval everything(bool has_nan) { return {-kInfinity, kInfinity, has_nan}; }

Interval hull(const Interval& x, const Interval& y) {
  return {std::min(x.lo, y.lo), std::max(x.hi, y.hi), x.has_nan || y.has_nan};
}

// From the results at the corners. A NaN corner (inf - inf, 0 * inf) makes everything possible.
template <size_t kCount>
Interval of_corners(const std::array<double, kCount>& corners, bool has_nan) {
  Interval result{kInfinity, -kInfinity, has_nan};
  for (const double corner : corners) {
    if (std::isnan(corner)) {
      return everything(true);
    }
    result.lo = std::min(result.lo, corner);
    result.hi = std::max(result.hi, corner);
  }
  return result;
}

Interval as_int32(const Interval& x) {
  if (x.lo < kInt32Lowest || x.hi > kInt32Highest) {  // wraps
    return {kInt32Lowest, kInt32Highest, false};
  }
  return x;
}

Interval as_f32(const Interval& x) {
  return {rounded_to_f32(x.lo), rounded_to_f32(x.hi), x.has_nan};
}

Interval widened(const Interval& x) {
  const auto slack = [](double bound) {
    return std::isinf(bound) ? 0.0 : std::fabs(bound) * kFunctionError + 1e-37;
  };
  return {x.lo - slack(x.lo), x.hi + slack(x.hi), x.has_nan};
}

Interval product(const Interval& x, const Interval& y, bool has_nan) {
  return of_corners(std::array{x.lo * y.lo, x.lo * y.hi, x.hi * y.lo, x.hi * y.hi}, has_nan);
}

Interval quotient(const Interval& x, const Interval& y, bool is_integer) {
  if (y.can_be_zero()) {
    // An integer quotient is at most the dividend, and 0 for a zero divisor.
    const double largest = std::max(std::fabs(x.lo), std::fabs(x.hi));
    return is_integer ? Interval{-largest, largest, false} : everything(true);
  }
  Interval result = of_corners(std::array{x.lo / y.lo, x.lo / y.hi, x.hi / y.lo, x.hi / y.hi},
                               x.has_nan || y.has_nan);
  if (is_integer) {
    result.lo = std::trunc(result.lo);
    result.hi = std::trunc(result.hi);
  }
  return result;
}

// x % y has the sign of x and is smaller than |y|; it is x itself where |x| is smaller.
Interval remainder(const Interval& x, const Interval& y, bool is_integer) {
  const double largest = std::max(std::fabs(y.lo), std::fabs(y.hi));
  const double smallest = y.can_be_zero() ? 0.0 : std::min(std::fabs(y.lo), std::fabs(y.hi));
  const bool has_nan = x.has_nan || y.has_nan || std::isinf(x.lo) || std::isinf(x.hi) ||
                       (!is_integer && y.can_be_zero());
  if (std::fabs(x.lo) < smallest && std::fabs(x.hi) < smallest) {
    return {x.lo, x.hi, has_nan};
  }
  // One period without a jump: x lies between two neighbouring multiples of a constant divisor.
  if (y.lo == y.hi && !y.can_be_zero() && x.lo >= 0.0 && !std::isinf(x.hi) &&
      std::floor(x.lo / largest) == std::floor(x.hi / largest)) {
    return {std::fmod(x.lo, largest), std::fmod(x.hi, largest), has_nan};
  }
  const double most = is_integer ? std::max(largest - 1.0, 0.0) : largest;
  return {x.lo < 0.0 ? std::max(-most, x.lo) : 0.0, x.hi > 0.0 ? std::min(most, x.hi) : 0.0,
          has_nan};
}

Interval absolute(const Interval& x) {
  const double lo = std::fabs(x.lo), hi = std::fabs(x.hi);
  return {x.can_be_zero() ? 0.0 : std::min(lo, hi), std::max(lo, hi), x.has_nan};
}

// A function that rises over its domain [lowest, infinity); below it gives NaN.
template <typename Function>
Interval rising(const Interval& x, double lowest, const Function& function) {
  if (x.hi < lowest) {
    return everything(true);
  }
  return widened({function(std::max(x.lo, lowest)), function(x.hi), x.has_nan || x.lo < lowest});
}

Interval of_function(Op op, const Interval& x) {
  switch (op) {
    case Op::exp:
      return rising(x, -kInfinity, [](double v) { return std::exp(v); });
    case Op::exp2:
      return rising(x, -kInfinity, [](double v) { return std::exp2(v); });
    case Op::log:
      return rising(x, 0.0, [](double v) { return std::log(v); });
    case Op::tanh:
      return rising(x, -kInfinity, [](double v) { return std::tanh(v); });
    case Op::sigmoid:
      return rising(x, -kInfinity, [](double v) { return 1.0 / (1.0 + std::exp(-v)); });
    case Op::sqrt:
      return rising(x, 0.0, [](double v) { return std::sqrt(v); });
    case Op::rsqrt: {
      if (x.hi <= 0.0) {
        return everything(true);
      }
      const double largest = x.lo <= 0.0 ? kInfinity : 1.0 / std::sqrt(x.lo);
      return widened({1.0 / std::sqrt(x.hi), largest, x.has_nan || x.lo < 0.0});
    }
    default:  // floor
      return {std::floor(x.lo), std::floor(x.hi), x.has_nan};
  }
}

Interval of_pow(const Interval& x, const Interval& y) {
  if (x.lo > 0.0 && !std::isinf(x.hi)) {  // monotone in either argument
    return widened(of_corners(std::array{std::pow(x.lo, y.lo), std::pow(x.lo, y.hi),
                                         std::pow(x.hi, y.lo), std::pow(x.hi, y.hi)},
                              x.has_nan || y.has_nan));
  }
  return everything(true);
}

Interval of_logic(Op op, const Interval& x, const Interval& y) {
  switch (op) {
    case Op::truth:
      return truth(x.can_be_true(), x.can_be_false());
    case Op::logical_not:
      return truth(x.can_be_false(), x.can_be_true());
    case Op::logical_and:
      return truth(x.can_be_true() && y.can_be_true(), x.can_be_false() || y.can_be_false());
    default:
      return truth(x.can_be_true() || y.can_be_true(), x.can_be_false() && y.can_be_false());
  }
}

Interval of_comparison(Op op, const Interval& x, const Interval& y) {
  const bool has_nan = x.has_nan || y.has_nan;  // compares false with everything
  switch (op) {
    case Op::less:
      return truth(x.lo < y.hi, has_nan || !(x.hi < y.lo));
    case Op::less_equal:
      return truth(x.lo <= y.hi, has_nan || !(x.hi <= y.lo));
    default:
      return truth(x.lo <= y.hi && y.lo <= x.hi,
                   has_nan || x.lo != x.hi || y.lo != y.hi || x.lo != y.lo);
  }
}

Interval of_select(const Interval& condition, const Interval& x, const Interval& y) {
  if (!condition.can_be_false()) return x;
  return condition.can_be_true() ? hull(x, y) : y;
}

Interval to_index(const Interval& x) {
  const auto index = [](double v) {
    return std::trunc(std::clamp(v, kInt32Lowest, kInt32Highest));
  };
  const Interval whole{index(x.lo), index(x.hi), false};
  return x.has_nan ? hull(whole, {0.0, 0.0, false}) : whole;
}

Interval of_arithmetic(Op op, const Interval& x, const Interval& y, bool is_integer) {
  const bool has_nan = x.has_nan || y.has_nan;
  switch (op) {
    case Op::negate:
      return {-x.hi, -x.lo, x.has_nan};
    case Op::add:
      return of_corners(std::array{x.lo + y.lo, x.hi + y.hi, x.lo + y.hi, x.hi + y.lo}, has_nan);
    case Op::subtract:
      return of_corners(std::array{x.lo - y.hi, x.hi - y.lo, x.lo - y.lo, x.hi - y.hi}, has_nan);
    case Op::multiply:
      return product(x, y, has_nan);
    case Op::divide:
      return quotient(x, y, is_integer);
    case Op::modulo:
      return remainder(x, y, is_integer);
    case Op::abs:
      return absolute(x);
    case Op::min:  // b < a ? b : a: a NaN b gives a, a NaN a stays
      return {std::min(x.lo, y.lo), y.has_nan ? x.hi : std::min(x.hi, y.hi), x.has_nan};
    default:  // max
      return {y.has_nan ? x.lo : std::max(x.lo, y.lo), std::max(x.hi, y.hi), x.has_nan};
  }
}

Interval of_node(const Node& node, const Interval& x, const Interval& y, const Interval& z) {
  switch (node.op) {
    case Op::to_integer:
      return x;
    case Op::to_real:
      return as_f32(x);
    case Op::to_index:
      return to_index(x);
    case Op::truth:
    case Op::logical_not:
    case Op::logical_and:
    case Op::logical_or:
      return of_logic(node.op, x, y);
    case Op::less:
    case Op::less_equal:
    case Op::equal:
      return of_comparison(node.op, x, y);
    case Op::select:
      return of_select(x, y, z);
    case Op::pow:
      return as_f32(of_pow(x, y));
    default:
      break;
  }
  if (node.op >= Op::exp) {
    return as_f32(of_function(node.op, x));
  }
  const bool is_integer = node.type == ValueType::integer;
  const Interval result = of_arithmetic(node.op, x, y, is_integer);
  return is_integer ? as_int32(result) : as_f32(result);
}

Interval of_input(Op op, const Box& box) {
  const auto point = [](int32_t value) {
    return Interval{static_cast<double>(value), static_cast<double>(value), false};
  };
  switch (op) {
    case Op::score:
      return everything(true);
    case Op::b:
      return point(box.b);
    case Op::h:
      return {static_cast<double>(box.h_lo), static_cast<double>(box.h_hi), false};
    case Op::q:
      return {static_cast<double>(box.q_lo), static_cast<double>(box.q_hi), false};
    case Op::kv:
      return {static_cast<double>(box.kv_lo), static_cast<double>(box.kv_hi), false};
    case Op::q_len:
      return point(box.q_len);
    case Op::kv_len:
      return point(box.kv_len);
    default:
      return point(box.doc);
  }
}

}  // namespace

IntervalEvaluator::IntervalEvaluator(const BoundProgram& program)
    : code_(program.program->code()),
      bound_(program),
      values_(code_.graph.nodes().size()),
      ranges_(code_.tensors.size()),
      has_range_(code_.tensors.size(), 0) {}

const Interval& IntervalEvaluator::range_of(int32_t tensor) {
  const auto i = static_cast<size_t>(tensor);
  if (has_range_[i] != 0) {
    return ranges_[i];
  }
  has_range_[i] = 1;
  Interval& range = ranges_[i];
  range = {kInfinity, -kInfinity, false};
  const ProgramTensor& memory = bound_.tensors[tensor];
  const int64_t count = num_elements(memory);
  for (int64_t at = 0; at < count; ++at) {
    int64_t rest = at, offset = 0;
    for (int axis = memory.rank - 1; axis >= 0; --axis) {
      offset += rest % memory.shape[axis] * memory.stride[axis];
      rest /= memory.shape[axis];
    }
    const double value = element(memory, offset);
    if (std::isnan(value)) {
      range.has_nan = true;
    } else {
      range.lo = std::min(range.lo, value);
      range.hi = std::max(range.hi, value);
    }
  }
  if (range.lo > range.hi) {
    range = everything(true);
  }
  return range;
}

Interval IntervalEvaluator::read(const Node& node) {
  const ProgramTensor& memory = bound_.tensors[node.tensor];
  int64_t offset = 0;
  for (int axis = 0; axis < node.num_operands; ++axis) {
    const Interval& index = at(node.operands[static_cast<size_t>(axis)]);
    const auto last = static_cast<double>(memory.shape[axis] - 1);
    const double lo = std::clamp(index.lo, 0.0, last);
    if (lo != std::clamp(index.hi, 0.0, last)) {
      return range_of(node.tensor);
    }
    offset += static_cast<int64_t>(lo) * memory.stride[axis];
  }
  const double value = element(memory, offset);
  return std::isnan(value) ? everything(true) : Interval{value, value, false};
}

void IntervalEvaluator::run(const Box& box, int32_t last) {
  for (int32_t index = 0; index <= last; ++index) {
    const Node& node = code_.graph.node(index);
    Interval& value = values_[static_cast<size_t>(index)];
    if (node.op == Op::constant) {
      value = std::isnan(node.constant) ? everything(true)
                                        : Interval{node.constant, node.constant, false};
    } else if (node.op == Op::read) {
      value = read(node);
    } else if (node.num_operands == 0) {
      value = of_input(node.op, box);
    } else {
      const auto operand = [&](size_t i) {
        return i < static_cast<size_t>(node.num_operands) ? at(node.operands[i]) : Interval{};
      };
      value = of_node(node, operand(0), operand(1), operand(2));
    }
  }
}

}  // namespace regard::program
