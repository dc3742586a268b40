#include "program/lower.h"

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "regard/error.h"

namespace regard::program {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, "program: " + message);
}

class Lowering {
 public:
  explicit Lowering(Code& code) : code_(code), graph_(code.graph) {}

  void run(const ExpressionPtr& result) {
    sort(result.get());
    for (const Expression* expression : order_) {
      nodes_[expression] = lowered(*expression);
    }
    code_.root = nodes_[result.get()];
    find_guards(result.get());
  }

 private:
  // Every expression after its operands, without recursion: they may be thousands deep.
  void sort(const Expression* result) {
    std::vector<std::pair<const Expression*, int>> open{{result, 0}};
    nodes_[result] = -1;
    while (!open.empty()) {
      auto& [expression, next] = open.back();
      if (next == expression->num_operands) {
        order_.push_back(expression);
        open.pop_back();
        continue;
      }
      const Expression* operand = expression->operands[static_cast<size_t>(next++)].get();
      if (nodes_.try_emplace(operand, -1).second) {
        if (nodes_.size() > kMostExpressions) {
          fail("more than " + std::to_string(kMostExpressions) + " operations");
        }
        open.emplace_back(operand, 0);
      }
    }
  }

  std::vector<int32_t> operands_of(const Expression& expression) const {
    std::vector<int32_t> operands;
    operands.reserve(kMaxOperands);
    for (int i = 0; i < expression.num_operands; ++i) {
      operands.push_back(nodes_.at(expression.operands[static_cast<size_t>(i)].get()));
    }
    return operands;
  }

  int32_t lowered(const Expression& expression) {
    switch (expression.op) {
      case Op::constant:
        return graph_.add_constant(expression.type, expression.constant);
      case Op::doc:
        return graph_.add(Op::doc, ValueType::integer, {});
      case Op::read:
        return graph_.add(Op::read, expression.type, operands_of(expression),
                          tensor_of(expression));
      case Op::score:
        if (code_.kind == ProgramKind::mask) {
          fail("a mask program has no score");
        }
        [[fallthrough]];
      default:
        return graph_.add(expression.op, expression.type, operands_of(expression));
    }
  }

  // The tensor's place in the list; a new one is appended.
  int32_t tensor_of(const Expression& expression) {
    const TensorInfo& read = *expression.tensor;
    const int32_t rank = expression.num_operands;
    for (size_t i = 0; i < code_.tensors.size(); ++i) {
      TensorInfo& known = code_.tensors[i];
      if (known.name != read.name) {
        continue;
      }
      if (known.element != read.element) {
        fail("tensor '" + read.name + "' is used as real and as integer");
      }
      if (known.rank != 0 && known.rank != rank) {
        fail("tensor '" + read.name + "' has " + std::to_string(known.rank) + " axes, found " +
             std::to_string(rank) + " indices");
      }
      known.rank = rank;
      return static_cast<int32_t>(i);
    }
    code_.tensors.push_back({read.name, read.element, rank});
    return static_cast<int32_t>(code_.tensors.size()) - 1;
  }

  // Where each expression's value is needed: the conditions of selections, && and || on all ways
  // from the result to it. Users come before operands in reverse order.
  void find_guards(const Expression* result) {
    for (const Expression* expression : order_) {
      guards_[expression] = graph_.truth(false);
    }
    guards_[result] = graph_.truth(true);
    for (auto at = order_.rbegin(); at != order_.rend(); ++at) {
      const Expression& expression = **at;
      pass_guard(expression, guards_[&expression]);
      add_checks(expression, guards_[&expression]);
    }
  }

  void pass_guard(const Expression& expression, int32_t guard) {
    for (int i = 0; i < expression.num_operands; ++i) {
      const Expression* operand = expression.operands[static_cast<size_t>(i)].get();
      int32_t& of_operand = guards_[operand];
      of_operand = graph_.compare(Op::logical_or, of_operand,
                                  graph_.compare(Op::logical_and, guard, branch(expression, i)));
    }
  }

  // The condition under which an expression needs its operand.
  int32_t branch(const Expression& expression, int operand) {
    const int32_t first = nodes_[expression.operands[0].get()];
    const bool needs_true = (expression.op == Op::select && operand == 1) ||
                            (expression.op == Op::logical_and && operand == 1);
    const bool needs_false = (expression.op == Op::select && operand == 2) ||
                             (expression.op == Op::logical_or && operand == 1);
    if (needs_true) {
      return first;
    }
    return needs_false ? graph_.add(Op::logical_not, ValueType::boolean, std::array{first})
                       : graph_.truth(true);
  }

  void add_checks(const Expression& expression, int32_t guard) {
    if (graph_.is_constant(guard, 0.0)) {
      return;
    }
    Check check{.guard = guard, .position = expression.position};
    switch (expression.op) {
      case Op::read:
        check.tensor = tensor_of(expression);
        for (int axis = 0; axis < expression.num_operands; ++axis) {
          check.axis = axis;
          check.operand = nodes_[expression.operands[static_cast<size_t>(axis)].get()];
          code_.checks.push_back(check);
        }
        return;
      case Op::doc:
        check.kind = Check::Kind::position;
        check.operand = nodes_[expression.operands[0].get()];
        code_.checks.push_back(check);
        return;
      case Op::divide:
      case Op::modulo:
        add_divisor_check(expression, check);
        return;
      default:
        return;
    }
  }

  void add_divisor_check(const Expression& expression, Check check) {
    check.kind = Check::Kind::divisor;
    check.operand = nodes_[expression.operands[1].get()];
    const Node& divisor = graph_.node(check.operand);
    if (divisor.op == Op::constant && divisor.constant != 0.0) {
      return;
    }
    // What depends on the score is not known before the scores are: IEEE 754 has the answer.
    const bool waits_for_score =
        divisor.type == ValueType::real && (divisor.depends & kOnScore) != 0;
    if (!waits_for_score) {
      code_.checks.push_back(check);
    }
  }

  static constexpr size_t kMostExpressions = 65536;

  Code& code_;
  Graph& graph_;
  std::vector<const Expression*> order_;
  std::unordered_map<const Expression*, int32_t> nodes_, guards_;
};

}  // namespace

void lower(const ExpressionPtr& result, Code& code) { Lowering(code).run(result); }

}  // namespace regard::program
