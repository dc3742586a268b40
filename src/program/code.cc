#include "program/code.h"

#include <array>
#include <string>

#include "program/derivative.h"
#include "program/expression.h"
#include "program/lower.h"
#include "program/print.h"
#include "regard/error.h"

namespace regard::program {
namespace {

void check_size(const Code& code) {
  std::vector<int32_t> roots{code.root, code.d_score};
  for (const ReadDerivative& read : code.d_reads) {
    roots.push_back(read.value);
  }
  const size_t size = code.graph.reachable(roots).size();
  if (size > kMaxOperations) {
    throw Error(ErrorCode::invalid_argument,
                "program: " + std::to_string(size) +
                    " operations with derivatives, after simplification: at most " +
                    std::to_string(kMaxOperations) + " are possible");
  }
}

void differentiate(Code& code) {
  int32_t score = -1;
  std::vector<int32_t> reads;
  for (const int32_t index : code.graph.reachable(std::array{code.root})) {
    const Node& node = code.graph.node(index);
    if (node.op == Op::score) {
      score = index;
    } else if (node.op == Op::read && node.type == ValueType::real) {
      reads.push_back(index);
    }
  }
  if (reads.size() > kMaxOperations) {
    return;  // too large anyway
  }
  code.d_score = derivative(code.graph, code.root, score);
  for (const int32_t read : reads) {
    const int32_t value = derivative(code.graph, code.root, read);
    if (value >= 0) {
      code.d_reads.push_back({read, value});
    }
  }
}

ExpressionPtr as_result(ProgramKind kind, const Value& value) {
  return kind == ProgramKind::mask ? to_truth(value.expression()) : to_real(value.expression());
}

}  // namespace

Code::Code(ProgramKind kind_of_program, const Value& value, const std::vector<TensorInfo>& list)
    : kind(kind_of_program), result(as_result(kind_of_program, value)), tensors(list) {
  lower(result.expression(), *this);
  check_size(*this);
  if (kind == ProgramKind::score) {
    differentiate(*this);
    check_size(*this);
  }
  std::vector<int32_t> derivatives;
  for (const ReadDerivative& read : d_reads) {
    derivatives.push_back(read.value);
    // The element that is read is found from the indices, which must be at hand then too.
    const Node& node = graph.node(read.node);
    derivatives.insert(derivatives.end(), node.operands.begin(),
                       node.operands.begin() + node.num_operands);
  }
  value_schedule = make_schedule(graph, std::array{root});
  gradient_schedule = make_schedule(graph, std::array{root, d_score});
  d_reads_schedule = make_schedule(graph, derivatives);
}

}  // namespace regard::program

namespace regard {

Program::Program(ProgramKind kind, const Value& result) : Program(kind, result, {}) {}

Program::Program(ProgramKind kind, const Value& result, const std::vector<TensorInfo>& tensors)
    : code_(std::make_shared<const program::Code>(kind, result, tensors)) {}

ProgramKind Program::kind() const { return code_->kind; }
const std::vector<TensorInfo>& Program::tensors() const { return code_->tensors; }
const Value& Program::result() const { return code_->result; }

int32_t Program::tensor_index(std::string_view name) const {
  for (size_t i = 0; i < code_->tensors.size(); ++i) {
    if (code_->tensors[i].name == name) {
      return static_cast<int32_t>(i);
    }
  }
  return -1;
}

std::string Program::text() const { return program::text_of(*code_, code_->root); }
std::string Program::d_score_text() const {
  return code_->d_score < 0 ? "0.0" : program::text_of(*code_, code_->d_score);
}

std::vector<std::string> Program::d_reads_text() const {
  std::vector<std::string> texts;
  for (const program::ReadDerivative& read : code_->d_reads) {
    texts.push_back("d / d " + program::text_of(*code_, read.node) + " = " +
                    program::text_of(*code_, read.value));
  }
  return texts;
}

namespace {

Program combined(const std::vector<Program>& masks, bool all) {
  Value result(all);
  for (const Program& mask : masks) {
    if (mask.kind() != ProgramKind::mask) {
      throw Error(ErrorCode::invalid_argument,
                  std::string(all ? "and" : "or") + "_masks: a score program is no mask");
    }
    result = all ? result && mask.result() : result || mask.result();
  }
  return Program(ProgramKind::mask, result);
}

}  // namespace

Program and_masks(const std::vector<Program>& masks) { return combined(masks, true); }
Program or_masks(const std::vector<Program>& masks) { return combined(masks, false); }

}  // namespace regard
