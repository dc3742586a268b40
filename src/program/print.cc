#include "program/print.h"

#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace regard::program {
namespace {

constexpr size_t kLongestText = 4096;

struct Text {
  std::string text;
  int binding = 0;  // how tightly it holds together: 9 for names, numbers and calls, 0 for ?:
};
constexpr int kTightest = 9, kUnary = 8, kSelect = 0;

struct Operator {
  std::string_view text;
  int binding;
};
Operator operator_of(Op op) {
  switch (op) {
    case Op::logical_or:
      return {" || ", 1};
    case Op::logical_and:
      return {" && ", 2};
    case Op::equal:
      return {" == ", 3};
    case Op::less:
      return {" < ", 4};
    case Op::less_equal:
      return {" <= ", 4};
    case Op::add:
      return {" + ", 5};
    case Op::subtract:
      return {" - ", 5};
    case Op::multiply:
      return {" * ", 6};
    case Op::divide:
      return {" / ", 6};
    case Op::modulo:
      return {" % ", 6};
    default:
      return {"", kTightest};
  }
}

Text constant_text(const Node& node) {
  if (node.type != ValueType::real) {
    const auto value = static_cast<int64_t>(node.constant);
    if (node.type == ValueType::boolean) {
      return {value != 0 ? "0 == 0" : "0 != 0", 3};
    }
    return {std::to_string(value), value < 0 ? kUnary : kTightest};
  }
  if (std::isnan(node.constant)) {
    return {"sqrt(-1.0)", kTightest};
  }
  if (std::isinf(node.constant)) {  // the language has no literal for it
    return {node.constant < 0 ? "log(0.0)" : "-log(0.0)", kUnary};
  }
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(),
                                 static_cast<float>(node.constant));
  std::string text(digits.data(), end.ptr);
  if (text.find_first_of(".e") == std::string::npos) {
    text += ".0";
  }
  return {text, text.front() == '-' ? kUnary : kTightest};
}

std::string in_brackets(const Text& text, int at_least) {
  return text.binding >= at_least ? text.text : "(" + text.text + ")";
}

std::string list_of(const std::vector<const Text*>& operands) {
  std::string list;
  for (const Text* operand : operands) {
    list.append(list.empty() ? "" : ", ").append(operand->text);
  }
  return list;
}

// An operation from the texts of its operands.
Text operation_text(const Code& code, const Node& node, const std::vector<const Text*>& operands) {
  switch (node.op) {
    case Op::constant:
      return constant_text(node);
    case Op::doc:
      return {"doc[0]", kTightest};
    case Op::read:
      return {code.tensors[static_cast<size_t>(node.tensor)].name + "[" + list_of(operands) + "]",
              kTightest};
    case Op::to_integer:  // meeting operators convert; where alone, + 0 says it
      return {in_brackets(*operands[0], 6) + " + 0", 5};
    case Op::to_real:
      return {in_brackets(*operands[0], 6) + " * 1.0", 6};
    case Op::to_index:
      return *operands[0];
    case Op::truth:
      return {in_brackets(*operands[0], 4) + " != 0", 3};
    case Op::negate:
      return {"-" + in_brackets(*operands[0], kTightest), kUnary};
    case Op::logical_not:
      return {"!" + in_brackets(*operands[0], kTightest), kUnary};
    case Op::select:
      return {in_brackets(*operands[0], 1) + " ? " + operands[1]->text + " : " +
                  in_brackets(*operands[2], kSelect),
              kSelect};
    default:
      break;
  }
  const Operator op = operator_of(node.op);
  if (op.text.empty()) {
    const std::string name(name_of(node.op));
    return {node.num_operands == 0 ? name : name + "(" + list_of(operands) + ")", kTightest};
  }
  return {in_brackets(*operands[0], op.binding) + std::string(op.text) +
              in_brackets(*operands[1], op.binding + 1),
          op.binding};
}

// Texts of a node's operands.
std::vector<const Text*> operands_of(const Node& node, const std::vector<Text>& texts) {
  std::vector<const Text*> operands(static_cast<size_t>(node.num_operands));
  for (size_t i = 0; i < operands.size(); ++i) {
    operands[i] = &texts[static_cast<size_t>(node.operands[i])];
  }
  return operands;
}

// Nodes as one expression; false when it would be too long.
bool as_expression(const Code& code, const std::vector<int32_t>& nodes, std::vector<Text>& texts) {
  for (const int32_t index : nodes) {
    const Node& node = code.graph.node(index);
    const std::vector<const Text*> operands = operands_of(node, texts);
    Text& text = texts[static_cast<size_t>(index)];
    text = operation_text(code, node, operands);
    if (text.text.size() > kLongestText) {
      return false;
    }
  }
  return true;
}

std::string as_steps(const Code& code, const std::vector<int32_t>& nodes) {
  std::vector<Text> names(static_cast<size_t>(code.graph.size()));
  std::string steps;
  for (const int32_t index : nodes) {
    const Node& node = code.graph.node(index);
    const std::vector<const Text*> operands = operands_of(node, names);
    Text text = operation_text(code, node, operands);
    Text& name = names[static_cast<size_t>(index)];
    if (node.num_operands == 0) {
      name = std::move(text);
      continue;
    }
    name = {"$" + std::to_string(index), kTightest};
    steps += name.text + " = " + text.text + "\n";
  }
  return steps;
}

}  // namespace

std::string text_of(const Code& code, int32_t root) {
  const std::vector<int32_t> nodes = code.graph.reachable(std::array{root});
  std::vector<Text> texts(static_cast<size_t>(code.graph.size()));
  return as_expression(code, nodes, texts) ? texts[static_cast<size_t>(root)].text
                                           : as_steps(code, nodes);
}

}  // namespace regard::program
