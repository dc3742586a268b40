#include "program/arithmetic.h"

#include <cmath>
#include <limits>

namespace regard::program {
namespace {

double truth(bool value) { return value ? 1.0 : 0.0; }

double integer_result(Op op, int64_t x, int64_t y) {
  switch (op) {
    case Op::negate:
      return wrapped_to_int32(-x);
    case Op::add:
      return wrapped_to_int32(x + y);
    case Op::subtract:
      return wrapped_to_int32(x - y);
    case Op::multiply:
      return wrapped_to_int32(x * y);
    case Op::divide:
      return y == 0 ? 0.0 : wrapped_to_int32(x / y);
    case Op::modulo:
      return y == 0 ? 0.0 : wrapped_to_int32(x % y);
    case Op::abs:
      return wrapped_to_int32(x < 0 ? -x : x);
    case Op::min:
      return static_cast<double>(y < x ? y : x);
    default:  // max
      return static_cast<double>(x < y ? y : x);
  }
}

double real_function(Op op, double x, double y) {
  switch (op) {
    case Op::exp:
      return std::exp(x);
    case Op::exp2:
      return std::exp2(x);
    case Op::log:
      return std::log(x);
    case Op::tanh:
      return std::tanh(x);
    case Op::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case Op::sqrt:
      return std::sqrt(x);
    case Op::rsqrt:
      return 1.0 / std::sqrt(x);
    case Op::floor:
      return std::floor(x);
    default:
      return std::pow(x, y);
  }
}

double real_result(Op op, double x, double y) {
  switch (op) {
    case Op::negate:
      return -x;
    case Op::add:
      return x + y;
    case Op::subtract:
      return x - y;
    case Op::multiply:
      return x * y;
    case Op::divide:
      return x / y;
    case Op::modulo:
      return std::fmod(x, y);
    case Op::abs:
      return std::fabs(x);
    case Op::min:
      return y < x ? y : x;
    case Op::max:
      return x < y ? y : x;
    default:
      return real_function(op, x, y);
  }
}

double index_of(double x) {
  constexpr double kLowest = std::numeric_limits<int32_t>::min();
  constexpr double kHighest = std::numeric_limits<int32_t>::max();
  if (std::isnan(x)) {
    return 0.0;
  }
  return std::trunc(x < kLowest ? kLowest : x > kHighest ? kHighest : x);
}

}  // namespace

double wrapped_to_int32(int64_t x) {
  return static_cast<double>(static_cast<int32_t>(static_cast<uint32_t>(x)));
}

double apply(Op op, ValueType operand_type, const double* operands) {
  const double x = operands[0];
  switch (op) {
    case Op::to_integer:
      return x;
    case Op::to_real:
      return rounded_to_f32(x);  // above 2^24 not every int32 is an f32
    case Op::truth:
      return truth(x != 0.0);
    case Op::to_index:
      return index_of(x);
    case Op::logical_not:
      return truth(x == 0.0);
    case Op::less:
      return truth(x < operands[1]);
    case Op::less_equal:
      return truth(x <= operands[1]);
    case Op::equal:
      return truth(x == operands[1]);
    case Op::logical_and:
      return truth(x != 0.0 && operands[1] != 0.0);
    case Op::logical_or:
      return truth(x != 0.0 || operands[1] != 0.0);
    case Op::select:
      return x != 0.0 ? operands[1] : operands[2];
    default:
      break;
  }
  const bool is_unary = op == Op::negate || op == Op::abs || (op >= Op::exp && op != Op::pow);
  const double y = is_unary ? 0.0 : operands[1];
  return operand_type == ValueType::real
             ? real_result(op, x, y)
             : integer_result(op, static_cast<int64_t>(x), static_cast<int64_t>(y));
}

}  // namespace regard::program
