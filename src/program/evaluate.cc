#include "program/evaluate.h"

#include <algorithm>
#include <array>

#include "program/arithmetic.h"
#include "program/bound.h"

namespace regard {
namespace program {
namespace {

double input(Op op, const ProgramPoint& point) {
  switch (op) {
    case Op::score:
      return point.score;
    case Op::b:
      return point.b;
    case Op::h:
      return point.h;
    case Op::q:
      return point.q;
    case Op::kv:
      return point.kv;
    case Op::q_len:
      return point.q_len;
    case Op::kv_len:
      return point.kv_len;
    default:
      return point.doc;
  }
}

}  // namespace

ProgramPoint point_of(const Problem& problem, const core::Sequence& sequence, int64_t head,
                      int64_t query, int64_t key, double score) {
  return {.score = score,
          .b = static_cast<int32_t>(sequence.batch),
          .h = static_cast<int32_t>(head),
          .q = static_cast<int32_t>(problem.first_query + query),
          .kv = static_cast<int32_t>(key),
          .q_len = static_cast<int32_t>(problem.first_query + sequence.q_len),
          .kv_len = static_cast<int32_t>(sequence.k_len),
          .doc = core::is_packed(problem) ? static_cast<int32_t>(sequence.index) : 0};
}

Evaluator::Evaluator(const BoundProgram& program)
    : bound_(program), values_(program.program->code().graph.nodes().size()) {}

// Index of a read on one axis, moved inside: what lies outside belongs to a masked pair or to a
// branch that is not taken.
int64_t Evaluator::index_of(int32_t node, int axis) const {
  const Node& read = bound_.program->code().graph.node(node);
  const ProgramTensor& tensor = bound_.tensors[read.tensor];
  const auto index =
      static_cast<int64_t>(values_[static_cast<size_t>(read.operands[static_cast<size_t>(axis)])]);
  return std::clamp<int64_t>(index, 0, tensor.shape[axis] - 1);
}

void Evaluator::run(const ProgramPoint& point, int32_t last) {
  const Graph& graph = bound_.program->code().graph;
  for (int32_t index = 0; index <= last; ++index) {
    const Node& node = graph.node(index);
    double& value = values_[static_cast<size_t>(index)];
    if (node.op == Op::constant) {
      value = node.constant;
    } else if (node.op == Op::read) {
      int64_t offset = 0;
      for (int axis = 0; axis < node.num_operands; ++axis) {
        offset += index_of(index, axis) * bound_.tensors[node.tensor].stride[axis];
      }
      value = element(bound_.tensors[node.tensor], offset);
    } else if (node.num_operands == 0) {
      value = input(node.op, point);
    } else {
      std::array<double, kMaxOperands> operands{};
      for (size_t i = 0; i < static_cast<size_t>(node.num_operands); ++i) {
        operands[i] = values_[static_cast<size_t>(node.operands[i])];
      }
      value = apply(node.op, graph.node(node.operands[0]).type, operands.data());
      if (node.type == ValueType::real && (node.depends & kOnScore) == 0) {
        value = rounded_to_f32(value);
      }
    }
  }
}

double Evaluator::node(const ProgramPoint& point, int32_t index) {
  run(point, index);
  return values_[static_cast<size_t>(index)];
}

double Evaluator::value(const ProgramPoint& point) {
  return node(point, bound_.program->code().root);
}

double Evaluator::d_score(const ProgramPoint& point) {
  const Code& code = bound_.program->code();
  return code.d_score < 0 ? 0.0 : node(point, code.d_score);
}

void Evaluator::d_tensors(const ProgramPoint& point, std::vector<ElementGradient>& gradients) {
  const Code& code = bound_.program->code();
  int32_t last = -1;
  for (const ReadDerivative& read : code.d_reads) {
    last = std::max({last, read.value, read.node});
  }
  run(point, last);
  for (const ReadDerivative& read : code.d_reads) {
    const Node& node = code.graph.node(read.node);
    int64_t at = 0;
    for (int axis = 0; axis < node.num_operands; ++axis) {
      at = at * bound_.tensors[node.tensor].shape[axis] + index_of(read.node, axis);
    }
    gradients.push_back({node.tensor, at, values_[static_cast<size_t>(read.value)]});
  }
}

}  // namespace program

double evaluate(const BoundProgram& program, const ProgramPoint& point) {
  program::check_binding(program, program.program->kind(), program::UnknownElements::real);
  return program::Evaluator(program).value(point);
}

}  // namespace regard
