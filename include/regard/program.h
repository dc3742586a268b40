// Score and mask programs: what a user writes about one pair (query, key), as a text or as a C++
// lambda over symbolic values; both become one expression graph.
//
//   Program alibi = score_program([&](Value score, Value, Value h, Value q, Value kv) {
//     return score + slopes(h) * (kv - q);
//   });
//   Program same = score_program("score + slopes[h] * (kv - q)", {{"slopes"}});
//
// Text       operators of C with its precedence: ?: || && == != < <= > >= + - * / % and unary - + !
//   names      score (not in a mask) b h q kv q_len kv_len; doc[i]; tensors with up to four
//              indices, t[i, j] or t[i][j]
//   functions  abs min max exp exp2 log tanh sigmoid sqrt rsqrt floor pow clamp where
// Positions  q and kv count inside a sequence (row of the batch, or document when rows are packed),
//            q_len and kv_len are its lengths, b is the batch row, h the query head. doc[i] is the
//            number of the document in packed rows and 0 elsewhere, or the user's tensor of that
//            name.
// Types      positions and literals without '.' or exponent are int32, comparisons are bool, all
//            else is f32; bool becomes int32 becomes f32 where they meet. A mask is true where its
//            result is not 0.
// Integers   as in C: / rounds toward zero and % has the sign of its left operand; sums and
//            products wrap modulo 2^32. Division by zero is an error (below).
// Reals      IEEE 754 in f32: x / 0 with a divisor that depends on the score is infinite or NaN,
//            so are log(0) and overflow. min(a, b) is b < a ? b : a and max(a, b) a < b ? b : a.
// Indices    int32, or floor(...) and what min, max, clamp, where, + - * make of it.
// Branches   c ? x : y, where, && and || evaluate only what they need: the other side may read
//            out of range or divide by zero.
// Gradients  abs has 0 at 0; min and max give their first operand the gradient of a tie; floor,
//            comparisons and indices have none.
//
// Errors     A text that is no program is refused with the position and what was expected. Before a
// Problem with programs is computed, every tensor index, every integer divisor and every real
// divisor that does not depend on the score is bounded by interval arithmetic over all pairs; where
// that does not prove it safe, boxes of pairs are halved down to the single pairs that the
// problem's masks leave visible and evaluated there. An index outside its axis or a zero divisor
// that some visible pair uses is Error(invalid_argument) with position, value and limit; pairs that
// are masked and branches that are not taken may hold any. An index that depends on the score must
// be provably inside (clamp it).
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "regard/export.h"
#include "regard/problem.h"

namespace regard {

enum class ProgramKind : uint8_t { score, mask };
enum class ValueType : uint8_t { boolean, integer, real };

// What is known of a tensor before memory is bound to it. `unknown` elements are taken as whatever
// the text needs; such a program can be checked (evaluate() takes them for f32) but not run.
enum class ElementType : uint8_t { real, integer, unknown };
struct TensorInfo {
  std::string name;
  ElementType element = ElementType::real;
  int32_t rank = 0;  // 1 to 4; 0 = as its first use has it
};

namespace program {
struct Expression;
class Code;
}  // namespace program

// A symbolic value: a constant, an input of the program, or an operation on other values.
// Immutable; copies share. Operations that have no type (an index that is a real) throw
// Error(invalid_argument).
class REGARD_API Value {
 public:
  Value() : Value(0) {}
  template <std::floating_point T>
  Value(T constant) : Value(real(static_cast<double>(constant))) {}
  template <std::integral T>
  Value(T constant)
      : Value(std::same_as<T, bool> ? boolean(constant != 0)
                                    : integer(static_cast<int64_t>(constant))) {}
  explicit Value(std::shared_ptr<const program::Expression> expression)
      : expression_(std::move(expression)) {}

  // A program has no branches at run time: use where, && and ||.
  explicit operator bool() const = delete;

  ValueType type() const;
  const std::shared_ptr<const program::Expression>& expression() const { return expression_; }

 private:
  static Value real(double constant);  // rounded to f32
  static Value integer(int64_t constant);
  static Value boolean(bool constant);

  std::shared_ptr<const program::Expression> expression_;
};

REGARD_API Value operator-(const Value& x);
REGARD_API Value operator!(const Value& x);
REGARD_API Value operator+(const Value& x, const Value& y);
REGARD_API Value operator-(const Value& x, const Value& y);
REGARD_API Value operator*(const Value& x, const Value& y);
REGARD_API Value operator/(const Value& x, const Value& y);
REGARD_API Value operator%(const Value& x, const Value& y);
REGARD_API Value operator<(const Value& x, const Value& y);
REGARD_API Value operator<=(const Value& x, const Value& y);
REGARD_API Value operator>(const Value& x, const Value& y);
REGARD_API Value operator>=(const Value& x, const Value& y);
REGARD_API Value operator==(const Value& x, const Value& y);
REGARD_API Value operator!=(const Value& x, const Value& y);
REGARD_API Value operator&&(const Value& x, const Value& y);
REGARD_API Value operator||(const Value& x, const Value& y);
REGARD_API Value abs(const Value& x);
REGARD_API Value min(const Value& x, const Value& y);
REGARD_API Value max(const Value& x, const Value& y);
REGARD_API Value exp(const Value& x);
REGARD_API Value exp2(const Value& x);
REGARD_API Value log(const Value& x);
REGARD_API Value tanh(const Value& x);
REGARD_API Value sigmoid(const Value& x);
REGARD_API Value sqrt(const Value& x);
REGARD_API Value rsqrt(const Value& x);
REGARD_API Value floor(const Value& x);
REGARD_API Value pow(const Value& x, const Value& y);
REGARD_API Value clamp(const Value& x, const Value& low, const Value& high);
REGARD_API Value where(const Value& condition, const Value& if_true, const Value& if_false);

// Inputs that the lambdas below do not get as arguments.
REGARD_API Value q_len();
REGARD_API Value kv_len();
REGARD_API Value doc(const Value& position);

// A tensor of the program by name: slopes(h), table(h, q - kv). Memory is bound later, by name or
// in the order of Program::tensors().
class REGARD_API SymbolicTensor {
 public:
  explicit SymbolicTensor(std::string name, ElementType element = ElementType::real);

  // One to four indices.
  template <typename... Indices>
  Value operator()(const Indices&... indices) const {
    static_assert(sizeof...(Indices) >= 1 && sizeof...(Indices) <= 4);
    return read({Value(indices)...});
  }
  Value operator[](const Value& index) const { return read({index}); }

 private:
  Value read(const std::vector<Value>& indices) const;

  std::shared_ptr<const TensorInfo> info_;
};

// A compiled program: typed, simplified, differentiated. Immutable; copies share; thread-safe.
class REGARD_API Program {
 public:
  // Throw Error(invalid_argument): a mask that reads the score, more than 1024 operations, one
  // tensor with two ranks.
  Program(ProgramKind kind, const Value& result);
  Program(ProgramKind kind, const Value& result, const std::vector<TensorInfo>& tensors);

  ProgramKind kind() const;
  // Tensors in the order in which BoundProgram::tensors stand, with their types and ranks.
  const std::vector<TensorInfo>& tensors() const;
  // Position of a tensor in that list; -1 when the program does not have it.
  int32_t tensor_index(std::string_view name) const;
  // The simplified program in its own language; a program too large for one text (4096 characters)
  // as numbered steps.
  std::string text() const;
  // d result / d score, and d result / d (each tensor element that is read), as texts.
  std::string d_score_text() const;
  std::vector<std::string> d_reads_text() const;
  // What the program was made of, for use in a larger one.
  const Value& result() const;

  const program::Code& code() const { return *code_; }  // for back ends

 private:
  std::shared_ptr<const program::Code> code_;
};

using ScoreMod = std::function<Value(const Value& score, const Value& b, const Value& h,
                                     const Value& q, const Value& kv)>;
using MaskMod =
    std::function<Value(const Value& b, const Value& h, const Value& q, const Value& kv)>;
REGARD_API Program score_program(const ScoreMod& mod);
REGARD_API Program mask_program(const MaskMod& mod);

// Where and why a text is not a program.
struct ProgramFault {
  size_t position = 0;  // 1-based, in bytes of the text; 0 = the text as a whole
  std::string message;  // what was found and what was expected
};
struct ParsedProgram {
  std::optional<Program> program;
  std::optional<ProgramFault> fault;  // set exactly when `program` is not
};

// At most 4096 bytes and 64 nested expressions; time is linear in the text. `tensors` are the names
// that the text may read. Throws nothing but std::bad_alloc.
REGARD_API ParsedProgram parse_program(std::string_view text, ProgramKind kind,
                                       const std::vector<TensorInfo>& tensors);

// The same for callers who hold a text that ought to be right: Error(invalid_argument) with the
// fault.
REGARD_API Program score_program(std::string_view text,
                                 const std::vector<TensorInfo>& tensors = {});
REGARD_API Program mask_program(std::string_view text, const std::vector<TensorInfo>& tensors = {});

// The mask that sees what all, or any, of the masks see.
REGARD_API Program and_masks(const std::vector<Program>& masks);
REGARD_API Program or_masks(const std::vector<Program>& masks);

// One pair as a program sees it.
struct ProgramPoint {
  double score = 0.0;
  int32_t b = 0, h = 0, q = 0, kv = 0, q_len = 1, kv_len = 1, doc = 0;
};

// The program's value at one point in double (a mask: 0 or 1), operations that do not depend on the
// score rounded to f32 each. An index outside its axis reads the nearest element, an integer
// divided by zero is 0, unknown elements are f32. Throws Error(invalid_argument) for missing
// tensors; slow, for checks.
REGARD_API double evaluate(const BoundProgram& program, const ProgramPoint& point);

}  // namespace regard
