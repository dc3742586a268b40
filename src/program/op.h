// Operations of the program language: the nodes of expressions and graphs.
#pragma once

#include <cstdint>
#include <string_view>

namespace regard::program {

enum class Op : uint8_t {
  constant,
  score,
  b,
  h,
  q,
  kv,
  q_len,
  kv_len,
  doc,   // an expression has the position as operand, a graph none: it is one number a sequence
  read,  // tensor element, one operand an axis
  // Conversions.
  to_integer,  // of a bool
  to_real,     // of an int
  truth,       // != 0
  to_index,    // of a real that is a whole number; saturates, NaN gives 0
  negate,
  logical_not,
  add,
  subtract,
  multiply,
  divide,
  modulo,
  less,
  less_equal,
  equal,
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
};

inline constexpr int kMaxOperands = 4;

// Name of an input or a function; empty for operators and conversions.
constexpr std::string_view name_of(Op op) {
  switch (op) {
    case Op::score:
      return "score";
    case Op::b:
      return "b";
    case Op::h:
      return "h";
    case Op::q:
      return "q";
    case Op::kv:
      return "kv";
    case Op::q_len:
      return "q_len";
    case Op::kv_len:
      return "kv_len";
    case Op::doc:
      return "doc";
    case Op::abs:
      return "abs";
    case Op::min:
      return "min";
    case Op::max:
      return "max";
    case Op::exp:
      return "exp";
    case Op::exp2:
      return "exp2";
    case Op::log:
      return "log";
    case Op::tanh:
      return "tanh";
    case Op::sigmoid:
      return "sigmoid";
    case Op::sqrt:
      return "sqrt";
    case Op::rsqrt:
      return "rsqrt";
    case Op::floor:
      return "floor";
    case Op::pow:
      return "pow";
    default:
      return "";
  }
}

}  // namespace regard::program
