// Expressions: what Values hold and what the parser builds. A tree with shared parts; typed when
// made.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "program/op.h"
#include "regard/program.h"

namespace regard::program {

struct Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

struct Expression {
  Op op = Op::constant;
  ValueType type = ValueType::integer;
  double constant = 0.0;
  std::array<ExpressionPtr, kMaxOperands> operands;
  int num_operands = 0;
  std::shared_ptr<const TensorInfo> tensor;  // of read; of doc where the user declared one
  size_t position = 0;                       // 1-based in the text; 0 from C++
  int32_t depth = 1;                         // operations above each other
};

// Deeper expressions are refused: they are destroyed recursively.
inline constexpr int32_t kMaxDepth = 4096;

// An operation on typed operands; conversions are inserted as C does. Comparisons other than
// less, less_equal and equal, clamp and where are made of these by the callers. `fault` receives
// what is wrong (then the result is a constant); without `fault` Error(invalid_argument) is thrown.
ExpressionPtr make(Op op, std::span<const ExpressionPtr> operands, size_t position,
                   std::string* fault = nullptr);
ExpressionPtr make_constant(ValueType type, double value, size_t position);
ExpressionPtr make_input(Op op, size_t position);
ExpressionPtr make_read(std::shared_ptr<const TensorInfo> tensor,
                        std::span<const ExpressionPtr> indices, size_t position,
                        std::string* fault = nullptr);
ExpressionPtr make_doc(const ExpressionPtr& index, size_t position, std::string* fault = nullptr);

// As a mask or a condition (!= 0), as a score.
ExpressionPtr to_truth(const ExpressionPtr& x);
ExpressionPtr to_real(const ExpressionPtr& x);

}  // namespace regard::program
