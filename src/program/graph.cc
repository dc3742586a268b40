#include "program/graph.h"

#include <bit>
#include <cmath>

#include "program/arithmetic.h"

namespace regard::program {
namespace {

uint8_t own_dependence(Op op) {
  switch (op) {
    case Op::score:
      return kOnScore;
    case Op::kv:
      return kOnKey;
    case Op::q:
      return kOnQuery;
    case Op::h:
      return kOnHead;
    case Op::b:
      return kOnBatch;
    case Op::q_len:
    case Op::kv_len:
    case Op::doc:
      return kOnDocument;
    default:
      return 0;
  }
}

bool is_commutative(Op op) {
  // Not min and max, which differ for NaN and for zeros of two signs; not && and ||, whose left
  // side guards the right one when the program is printed and read again.
  return op == Op::add || op == Op::multiply || op == Op::equal;
}

}  // namespace

int32_t Graph::insert(Node node) {
  if (is_commutative(node.op) && node.operands[0] > node.operands[1]) {
    std::swap(node.operands[0], node.operands[1]);
  }
  const Key key{node.op, node.type, node.operands, node.tensor,
                std::bit_cast<uint64_t>(node.constant)};
  const auto [place, is_new] = known_.try_emplace(key, size());
  if (is_new) {
    nodes_.push_back(node);
  }
  return place->second;
}

int32_t Graph::add_constant(ValueType type, double value) {
  Node node{.op = Op::constant, .type = type, .constant = value};
  return insert(node);
}

int32_t Graph::add(Op op, ValueType type, std::span<const int32_t> operands, int32_t tensor) {
  Node node{.op = op, .type = type, .depends = own_dependence(op), .tensor = tensor};
  node.num_operands = static_cast<int8_t>(operands.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    node.operands[i] = operands[i];
    node.depends |= this->node(operands[i]).depends;
  }
  const int32_t simpler = simplified(node);
  return simpler >= 0 ? simpler : insert(node);
}

std::vector<int32_t> Graph::reachable(std::span<const int32_t> roots) const {
  std::vector<uint8_t> is_needed(nodes_.size(), 0);
  for (const int32_t root : roots) {
    if (root >= 0) {
      is_needed[static_cast<size_t>(root)] = 1;
    }
  }
  for (size_t i = nodes_.size(); i-- > 0;) {
    for (int operand = 0; is_needed[i] != 0 && operand < nodes_[i].num_operands; ++operand) {
      is_needed[static_cast<size_t>(nodes_[i].operands[static_cast<size_t>(operand)])] = 1;
    }
  }
  std::vector<int32_t> needed;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (is_needed[i] != 0) {
      needed.push_back(static_cast<int32_t>(i));
    }
  }
  return needed;
}

int32_t Graph::simplified(const Node& node) {
  if (node.num_operands == 0 || node.op == Op::read) {
    return -1;
  }
  if (const int32_t result = folded(node); result >= 0) {
    return result;
  }
  if (const int32_t result = simplified_logic(node); result >= 0) {
    return result;
  }
  return simplified_arithmetic(node);
}

// Constants, as far as the result is finite: what is not belongs to run time and its checks.
int32_t Graph::folded(const Node& node) {
  double operands[kMaxOperands] = {};
  for (int i = 0; i < node.num_operands; ++i) {
    const Node& operand = this->node(node.operands[static_cast<size_t>(i)]);
    if (operand.op != Op::constant) {
      return -1;
    }
    operands[i] = operand.constant;
  }
  if ((node.op == Op::divide || node.op == Op::modulo) && operands[1] == 0.0) {
    return -1;
  }
  double value = apply(node.op, this->node(node.operands[0]).type, operands);
  if (node.type == ValueType::real) {
    value = rounded_to_f32(value);
  }
  return std::isfinite(value) ? add_constant(node.type, value) : -1;
}

int32_t Graph::simplified_logic(const Node& node) {
  const int32_t x = node.operands[0], y = node.operands[1];
  switch (node.op) {
    case Op::logical_not:
      return this->node(x).op == Op::logical_not ? this->node(x).operands[0] : -1;
    case Op::logical_and:
    case Op::logical_or: {
      const bool is_and = node.op == Op::logical_and;
      if (x == y) return x;
      if (is_constant(x, is_and ? 1.0 : 0.0)) return y;
      if (is_constant(y, is_and ? 1.0 : 0.0)) return x;
      if (is_constant(x, is_and ? 0.0 : 1.0)) return x;
      if (is_constant(y, is_and ? 0.0 : 1.0)) return y;
      return -1;
    }
    case Op::select:
      if (y == node.operands[2]) return y;
      if (this->node(x).op == Op::constant) {
        return is_constant(x, 0.0) ? node.operands[2] : y;
      }
      return -1;
    case Op::truth:
      return this->node(x).op == Op::to_integer ? this->node(x).operands[0] : -1;
    case Op::less:  // never true of a value and itself, NaN included
      return x == y ? truth(false) : -1;
    case Op::less_equal:
    case Op::equal:
      return x == y && this->node(x).type != ValueType::real ? truth(true) : -1;
    default:
      return -1;
  }
}

int32_t Graph::simplified_arithmetic(const Node& node) {
  const int32_t x = node.operands[0], y = node.operands[1];
  const bool is_integer = node.type == ValueType::integer;
  switch (node.op) {
    case Op::negate:
      return this->node(x).op == Op::negate ? this->node(x).operands[0] : -1;
    case Op::abs:
      return this->node(x).op == Op::abs ? x : -1;
    case Op::min:
    case Op::max:
      return x == y ? x : -1;
    case Op::add:
      if (is_integer && is_constant(x, 0.0)) return y;
      return is_integer && is_constant(y, 0.0) ? x : -1;
    case Op::subtract:
      if (is_integer && x == y) return add_constant(ValueType::integer, 0.0);
      // x - 0.0 is x; x - -0.0 is x + 0.0, which is not.
      return is_constant(y, 0.0) && !std::signbit(this->node(y).constant) ? x : -1;
    case Op::multiply:
      if (is_constant(x, 1.0)) return y;
      if (is_constant(y, 1.0)) return x;
      if (is_integer && is_constant(x, 0.0)) return x;
      return is_integer && is_constant(y, 0.0) ? y : simplified_real(node);
    case Op::divide:
      return is_constant(y, 1.0) ? x : simplified_real(node);
    case Op::pow:
      return simplified_real(node);
    case Op::floor:
      return this->node(x).op == Op::to_real || this->node(x).op == Op::floor ? x : -1;
    default:
      return -1;
  }
}

int32_t Graph::simplified_real(const Node& node) {
  if (node.type != ValueType::real) {
    return -1;
  }
  const int32_t x = node.operands[0], y = node.operands[1];
  if (node.op == Op::multiply) {
    if (is_constant(x, -1.0)) return unary(Op::negate, y);
    return is_constant(y, -1.0) ? unary(Op::negate, x) : -1;
  }
  if (this->node(y).op != Op::constant) {
    return -1;
  }
  const double constant = this->node(y).constant;
  if (node.op == Op::divide) {  // by a power of two whose inverse is a normal f32
    int exponent = 0;
    const bool is_power = std::fabs(std::frexp(constant, &exponent)) == 0.5;
    return is_power && std::abs(exponent) < 120 ? binary(Op::multiply, x, real(1.0 / constant))
                                                : -1;
  }
  if (constant == 1.0) return x;
  return constant == 2.0 ? binary(Op::multiply, x, x) : -1;  // pow
}

}  // namespace regard::program
