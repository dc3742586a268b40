// Syntax of score and mask programs (flex_score_mod, flex_mask_mod), checked before anything is
// loaded, and a small evaluator over doubles that asks whether a mask is causal.
//
//   expression = or [ "?" expression ":" expression ]        operators and precedence of C
//   or/and/compare/sum/product: || && == != < <= > >= + - * / %     unary: - + !
//   primary    = number | "(" expression ")" | name | name "[" expression {"," expression} "]"
//              | function "(" expression {"," expression} ")"
//   names      score (not in a mask) b h q kv q_len kv_len; doc[i]; the tensors with indices
//   functions  abs min max exp exp2 log tanh sigmoid sqrt rsqrt floor pow clamp where
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

enum class ProgramKind : uint8_t { score, mask };

// Where and why a text is not a program.
struct ProgramFault {
  size_t position = 0;  // 1-based, in characters of the text
  std::string message;  // what was found and what was expected
};

// One step of a parsed program; operands are indices of earlier steps, so that a program is
// evaluated from first to last without recursion.
struct ProgramStep {
  enum class Op : uint8_t {
    constant,
    score,
    b,
    h,
    q,
    kv,
    q_len,
    kv_len,
    doc,
    tensor,
    negate,
    logical_not,
    add,
    subtract,
    multiply,
    divide,
    modulo,
    less,
    less_equal,
    greater,
    greater_equal,
    equal,
    not_equal,
    logical_and,
    logical_or,
    select,
    abs,
    min,
    max,
    exp,
    exp2,
    log,
    tanh,
    sigmoid,
    sqrt,
    rsqrt,
    floor,
    pow,
    clamp,
  };
  Op op = Op::constant;
  double value = 0.0;  // of a constant
  int32_t a = -1, b = -1, c = -1;
};

struct Program {
  std::vector<ProgramStep> steps;  // the last one is the result; empty when `fault` is set
  std::optional<ProgramFault> fault;
};

// Parses; never throws. At most 64 nested parentheses and 4096 characters.
Program parse_program(std::string_view text, ProgramKind kind,
                      const std::vector<std::string>& tensors);

// The values a program is evaluated for. A tensor's elements are all `tensor`: the rules do not
// read files.
struct ProgramPoint {
  double score = 0.0, b = 0.0, h = 0.0, q = 0.0, kv = 0.0, q_len = 1.0, kv_len = 1.0;
  double tensor = 0.0;
};
// Division by zero and overflow give the infinities and NaN of IEEE 754.
double evaluate_program(const Program& program, const ProgramPoint& point);

// Whether a query sees a key later than itself somewhere on a grid of positions below
// `sequence_len` (all of the first 32, and the neighbours of the powers of two), for heads 0 to 7.
bool mask_sees_later_keys(const Program& mask, int64_t sequence_len);

}  // namespace tune
