#include "program/expression.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "regard/error.h"

namespace regard::program {
namespace {

// How an operation takes its operands and what it gives.
enum class Signature : uint8_t {
  arithmetic,  // the common type of its operands, int32 at least
  function,    // reals to a real
  compare,     // the common type to bool
  logic,       // bools to a bool
  select,      // a bool and two of a common type
};

Signature signature_of(Op op) {
  switch (op) {
    case Op::less:
    case Op::less_equal:
    case Op::equal:
      return Signature::compare;
    case Op::logical_not:
    case Op::logical_and:
    case Op::logical_or:
      return Signature::logic;
    case Op::select:
      return Signature::select;
    case Op::exp:
    case Op::exp2:
    case Op::log:
    case Op::tanh:
    case Op::sigmoid:
    case Op::sqrt:
    case Op::rsqrt:
    case Op::floor:
    case Op::pow:
      return Signature::function;
    default:
      return Signature::arithmetic;
  }
}

ExpressionPtr node(Op op, ValueType type, std::span<const ExpressionPtr> operands,
                   size_t position) {
  auto made = std::make_shared<Expression>();
  made->op = op;
  made->type = type;
  made->position = position;
  made->num_operands = static_cast<int>(operands.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    made->operands[i] = operands[i];
    made->depth = std::max(made->depth, operands[i]->depth + 1);
  }
  return made;
}

ExpressionPtr convert(const ExpressionPtr& x, ValueType type) {
  if (x->type == type) {
    return x;
  }
  if (type == ValueType::boolean) {
    return node(Op::truth, type, {&x, 1}, x->position);
  }
  if (x->type == ValueType::boolean) {
    return convert(node(Op::to_integer, ValueType::integer, {&x, 1}, x->position), type);
  }
  return node(Op::to_real, ValueType::real, {&x, 1}, x->position);
}

ExpressionPtr failed(std::string message, size_t position, std::string* fault) {
  if (fault == nullptr) {
    throw Error(ErrorCode::invalid_argument, "program: " + message);
  }
  if (fault->empty()) {
    *fault = std::move(message);
  }
  return make_constant(ValueType::integer, 0.0, position);
}

bool is_too_deep(std::span<const ExpressionPtr> operands) {
  // Two levels of room: a conversion may follow.
  return std::any_of(operands.begin(), operands.end(),
                     [](const ExpressionPtr& x) { return x->depth > kMaxDepth - 3; });
}

// Whether a real is a whole number by construction: what may be an index.
bool is_whole(const Expression& x, int levels_left) {
  if (x.type != ValueType::real || x.op == Op::to_real || x.op == Op::floor) {
    return true;
  }
  if (x.op == Op::read) {
    return x.tensor->element == ElementType::unknown;
  }
  if (x.op == Op::constant) {
    return x.constant == std::floor(x.constant);
  }
  const bool keeps = x.op == Op::negate || x.op == Op::add || x.op == Op::subtract ||
                     x.op == Op::multiply || x.op == Op::min || x.op == Op::max ||
                     x.op == Op::abs || x.op == Op::select;
  if (!keeps || levels_left == 0) {
    return false;
  }
  for (int i = x.op == Op::select ? 1 : 0; i < x.num_operands; ++i) {
    if (!is_whole(*x.operands[static_cast<size_t>(i)], levels_left - 1)) {
      return false;
    }
  }
  return true;
}

constexpr int kWholeLevels = 12;  // of min, max, + ... around a floor: 2^12 visits at most

ExpressionPtr to_index(const ExpressionPtr& x) {
  if (x->type != ValueType::real) {
    return convert(x, ValueType::integer);
  }
  if (!is_whole(*x, kWholeLevels)) {
    return nullptr;
  }
  return node(Op::to_index, ValueType::integer, {&x, 1}, x->position);
}

// Indices as integers; empty after a fault.
std::vector<ExpressionPtr> to_indices(const std::string& name,
                                      std::span<const ExpressionPtr> indices,
                                      std::string& message) {
  std::vector<ExpressionPtr> integers;
  for (const ExpressionPtr& index : indices) {
    integers.push_back(to_index(index));
    if (integers.back() == nullptr) {
      message = "an index of '" + name + "' is a real number: use floor(...)";
      return {};
    }
  }
  return integers;
}

}  // namespace

ExpressionPtr make(Op op, std::span<const ExpressionPtr> operands, size_t position,
                   std::string* fault) {
  if (is_too_deep(operands)) {
    return failed("operations are nested deeper than " + std::to_string(kMaxDepth) + " levels",
                  position, fault);
  }
  const Signature signature = signature_of(op);
  ValueType common = signature == Signature::arithmetic ? ValueType::integer : ValueType::boolean;
  for (size_t i = signature == Signature::select ? 1 : 0; i < operands.size(); ++i) {
    common = std::max(common, operands[i]->type);
  }
  if (signature == Signature::function) {
    common = ValueType::real;
  } else if (signature == Signature::logic) {
    common = ValueType::boolean;
  }
  std::vector<ExpressionPtr> converted;
  for (size_t i = 0; i < operands.size(); ++i) {
    const bool is_condition = signature == Signature::select && i == 0;
    converted.push_back(convert(operands[i], is_condition ? ValueType::boolean : common));
  }
  return node(op, signature == Signature::compare ? ValueType::boolean : common, converted,
              position);
}

ExpressionPtr make_constant(ValueType type, double value, size_t position) {
  auto made = std::make_shared<Expression>();
  made->type = type;
  made->constant = value;
  made->position = position;
  return made;
}

ExpressionPtr make_input(Op op, size_t position) {
  return node(op, op == Op::score ? ValueType::real : ValueType::integer, {}, position);
}

ExpressionPtr make_read(std::shared_ptr<const TensorInfo> tensor,
                        std::span<const ExpressionPtr> indices, size_t position,
                        std::string* fault) {
  std::string message;
  if (indices.empty() || indices.size() > kMaxOperands) {
    message = "tensor '" + tensor->name + "' has " + std::to_string(indices.size()) +
              " indices: 1 to 4 are possible";
  } else if (is_too_deep(indices)) {
    message = "operations are nested deeper than " + std::to_string(kMaxDepth) + " levels";
  } else if (tensor->rank != 0 && static_cast<size_t>(tensor->rank) != indices.size()) {
    message = "tensor '" + tensor->name + "' has " + std::to_string(tensor->rank) +
              " axes, found " + std::to_string(indices.size()) + " indices";
  }
  const std::vector<ExpressionPtr> integers =
      message.empty() ? to_indices(tensor->name, indices, message) : std::vector<ExpressionPtr>{};
  if (!message.empty()) {
    return failed(message, position, fault);
  }
  auto made = std::make_shared<Expression>(*node(
      Op::read, tensor->element == ElementType::integer ? ValueType::integer : ValueType::real,
      integers, position));
  made->tensor = std::move(tensor);
  return made;
}

ExpressionPtr make_doc(const ExpressionPtr& index, size_t position, std::string* fault) {
  std::string message;
  const std::vector<ExpressionPtr> integers = to_indices("doc", {&index, 1}, message);
  if (is_too_deep({&index, 1})) {
    message = "operations are nested deeper than " + std::to_string(kMaxDepth) + " levels";
  }
  return message.empty() ? node(Op::doc, ValueType::integer, integers, position)
                         : failed(message, position, fault);
}

ExpressionPtr to_truth(const ExpressionPtr& x) { return convert(x, ValueType::boolean); }
ExpressionPtr to_real(const ExpressionPtr& x) { return convert(x, ValueType::real); }

}  // namespace regard::program
