// Values: operators and functions over expressions.
#include <algorithm>
#include <array>
#include <limits>

#include "program/expression.h"
#include "regard/error.h"

namespace regard {
namespace {

using program::ExpressionPtr;
using program::Op;

Value apply(Op op, const Value& x) {
  const std::array operands{x.expression()};
  return Value(program::make(op, operands, 0));
}

Value apply(Op op, const Value& x, const Value& y) {
  const std::array operands{x.expression(), y.expression()};
  return Value(program::make(op, operands, 0));
}

}  // namespace

Value Value::real(double constant) {
  return Value(program::make_constant(ValueType::real,
                                      static_cast<double>(static_cast<float>(constant)), 0));
}

Value Value::integer(int64_t constant) {
  if (constant < std::numeric_limits<int32_t>::min() ||
      constant > std::numeric_limits<int32_t>::max()) {
    throw Error(ErrorCode::invalid_argument, "program: the constant " + std::to_string(constant) +
                                                 " does not fit into an int32; write it as a "
                                                 "floating-point number");
  }
  return Value(program::make_constant(ValueType::integer, static_cast<double>(constant), 0));
}

Value Value::boolean(bool constant) {
  return Value(program::make_constant(ValueType::boolean, constant ? 1.0 : 0.0, 0));
}

ValueType Value::type() const { return expression_->type; }

Value operator-(const Value& x) { return apply(Op::negate, x); }
Value operator!(const Value& x) { return apply(Op::logical_not, x); }
Value operator+(const Value& x, const Value& y) { return apply(Op::add, x, y); }
Value operator-(const Value& x, const Value& y) { return apply(Op::subtract, x, y); }
Value operator*(const Value& x, const Value& y) { return apply(Op::multiply, x, y); }
Value operator/(const Value& x, const Value& y) { return apply(Op::divide, x, y); }
Value operator%(const Value& x, const Value& y) { return apply(Op::modulo, x, y); }
Value operator<(const Value& x, const Value& y) { return apply(Op::less, x, y); }
Value operator<=(const Value& x, const Value& y) { return apply(Op::less_equal, x, y); }
Value operator>(const Value& x, const Value& y) { return apply(Op::less, y, x); }
Value operator>=(const Value& x, const Value& y) { return apply(Op::less_equal, y, x); }
Value operator==(const Value& x, const Value& y) { return apply(Op::equal, x, y); }
Value operator!=(const Value& x, const Value& y) { return !(x == y); }
Value operator&&(const Value& x, const Value& y) { return apply(Op::logical_and, x, y); }
Value operator||(const Value& x, const Value& y) { return apply(Op::logical_or, x, y); }
Value abs(const Value& x) { return apply(Op::abs, x); }
Value min(const Value& x, const Value& y) { return apply(Op::min, x, y); }
Value max(const Value& x, const Value& y) { return apply(Op::max, x, y); }
Value exp(const Value& x) { return apply(Op::exp, x); }
Value exp2(const Value& x) { return apply(Op::exp2, x); }
Value log(const Value& x) { return apply(Op::log, x); }
Value tanh(const Value& x) { return apply(Op::tanh, x); }
Value sigmoid(const Value& x) { return apply(Op::sigmoid, x); }
Value sqrt(const Value& x) { return apply(Op::sqrt, x); }
Value rsqrt(const Value& x) { return apply(Op::rsqrt, x); }
Value floor(const Value& x) { return apply(Op::floor, x); }
Value pow(const Value& x, const Value& y) { return apply(Op::pow, x, y); }
Value clamp(const Value& x, const Value& low, const Value& high) { return min(max(x, low), high); }

Value where(const Value& condition, const Value& if_true, const Value& if_false) {
  const std::array operands{condition.expression(), if_true.expression(), if_false.expression()};
  return Value(program::make(Op::select, operands, 0));
}

Value q_len() { return Value(program::make_input(Op::q_len, 0)); }
Value kv_len() { return Value(program::make_input(Op::kv_len, 0)); }
Value doc(const Value& position) { return Value(program::make_doc(position.expression(), 0)); }

SymbolicTensor::SymbolicTensor(std::string name, ElementType element)
    : info_(std::make_shared<TensorInfo>(TensorInfo{std::move(name), element, 0})) {}

Value SymbolicTensor::read(const std::vector<Value>& indices) const {
  std::vector<ExpressionPtr> operands;
  operands.reserve(indices.size());
  for (const Value& index : indices) {
    operands.push_back(index.expression());
  }
  return Value(program::make_read(info_, operands, 0));
}

Program score_program(const ScoreMod& mod) {
  const auto input = [](Op op) { return Value(program::make_input(op, 0)); };
  return Program(ProgramKind::score,
                 mod(input(Op::score), input(Op::b), input(Op::h), input(Op::q), input(Op::kv)));
}

Program mask_program(const MaskMod& mod) {
  const auto input = [](Op op) { return Value(program::make_input(op, 0)); };
  return Program(ProgramKind::mask, mod(input(Op::b), input(Op::h), input(Op::q), input(Op::kv)));
}

}  // namespace regard
