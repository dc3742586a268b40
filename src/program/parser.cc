// The text of a program to an expression, by recursive descent with one token of look-ahead.
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "program/code.h"
#include "program/expression.h"
#include "program/scanner.h"
#include "regard/error.h"

namespace regard {
namespace program {
namespace {

constexpr size_t kMaxBytes = 4096;
constexpr int kMaxNesting = 64;

struct Function {
  std::string_view name;
  Op op;
  size_t arity;
};
// clamp and where are written with other operations below.
constexpr std::array kFunctions = {
    Function{"abs", Op::abs, 1},        Function{"min", Op::min, 2},
    Function{"max", Op::max, 2},        Function{"exp", Op::exp, 1},
    Function{"exp2", Op::exp2, 1},      Function{"log", Op::log, 1},
    Function{"tanh", Op::tanh, 1},      Function{"sigmoid", Op::sigmoid, 1},
    Function{"sqrt", Op::sqrt, 1},      Function{"rsqrt", Op::rsqrt, 1},
    Function{"floor", Op::floor, 1},    Function{"pow", Op::pow, 2},
    Function{"clamp", Op::constant, 3}, Function{"where", Op::select, 3},
};

constexpr std::array kInputs = {Op::score, Op::b, Op::h, Op::q, Op::kv, Op::q_len, Op::kv_len};

enum class Swap : uint8_t { no, operands, result };  // a > b is b < a; a != b is !(a == b)
struct BinaryOperator {
  std::string_view text;
  int level;
  Op op;
  Swap swap = Swap::no;
};
// Loosest first; in a level the longer spelling comes first.
constexpr std::array kBinary = {
    BinaryOperator{"||", 0, Op::logical_or},
    BinaryOperator{"&&", 1, Op::logical_and},
    BinaryOperator{"==", 2, Op::equal},
    BinaryOperator{"!=", 2, Op::equal, Swap::result},
    BinaryOperator{"<=", 3, Op::less_equal},
    BinaryOperator{">=", 3, Op::less_equal, Swap::operands},
    BinaryOperator{"<", 3, Op::less},
    BinaryOperator{">", 3, Op::less, Swap::operands},
    BinaryOperator{"+", 4, Op::add},
    BinaryOperator{"-", 4, Op::subtract},
    BinaryOperator{"*", 5, Op::multiply},
    BinaryOperator{"/", 5, Op::divide},
    BinaryOperator{"%", 5, Op::modulo},
};
constexpr int kTightestLevel = 5;

class Parser : private Scanner {
 public:
  Parser(std::string_view text, ProgramKind kind, const std::vector<TensorInfo>& tensors)
      : Scanner(text), kind_(kind) {
    for (const TensorInfo& tensor : tensors) {
      tensors_.push_back(std::make_shared<const TensorInfo>(tensor));
    }
  }

  // The whole text; null after a fault.
  ExpressionPtr parse() {
    if (text_.size() > kMaxBytes) {
      return fail_at(kMaxBytes,
                     "the program is longer than " + std::to_string(kMaxBytes) + " characters");
    }
    ExpressionPtr result = expression();
    skip_blanks();
    if (!fault_ && at_ < text_.size()) {
      fail("expected an operator or the end, found " + found());
    }
    return fault_ ? nullptr : result;
  }

  using Scanner::fault;

 private:
  // The result after a fault is a constant, so that callers need not ask.
  ExpressionPtr fail(std::string message) { return fail_at(at_, std::move(message)); }
  ExpressionPtr fail_at(size_t at, std::string message) {
    set_fault(at, std::move(message));
    return make_constant(ValueType::integer, 0.0, at + 1);
  }

  // An operation that began at `start`, or the fault of its types.
  ExpressionPtr made(Op op, std::span<const ExpressionPtr> operands, size_t start) {
    if (fault_) return make_constant(ValueType::integer, 0.0, start + 1);
    std::string message;
    ExpressionPtr result = make(op, operands, start + 1, &message);
    return message.empty() ? result : fail_at(start, message);
  }

  ExpressionPtr expression() {
    if (++nesting_ > kMaxNesting) {
      return fail("nested deeper than " + std::to_string(kMaxNesting) + " levels");
    }
    skip_blanks();
    const size_t start = at_;
    ExpressionPtr result = binary(0);
    if (!fault_ && accept("?")) {
      const ExpressionPtr if_true = expression();
      if (!fault_ && expect(":")) {
        const std::array operands{result, if_true, expression()};
        result = made(Op::select, operands, start);
      }
    }
    --nesting_;
    return result;
  }

  const BinaryOperator* accept_binary(int level) {
    for (const BinaryOperator& candidate : kBinary) {
      if (candidate.level == level && accept(candidate.text)) return &candidate;
    }
    return nullptr;
  }

  ExpressionPtr binary(int level) {
    if (level > kTightestLevel) return unary();
    ExpressionPtr left = binary(level + 1);
    while (!fault_) {
      const BinaryOperator* found_operator = accept_binary(level);
      if (found_operator == nullptr) break;
      const size_t start = at_ - found_operator->text.size();
      left = combined(*found_operator, left, binary(level + 1), start);
    }
    return left;
  }

  ExpressionPtr combined(const BinaryOperator& binary, const ExpressionPtr& left,
                         const ExpressionPtr& right, size_t start) {
    std::array operands{left, right};
    if (binary.swap == Swap::operands) {
      std::swap(operands[0], operands[1]);
    }
    const ExpressionPtr result = made(binary.op, operands, start);
    return binary.swap == Swap::result ? made(Op::logical_not, {&result, 1}, start) : result;
  }

  ExpressionPtr unary() {
    // A run of signs is a loop, not a recursion: "- - - x" may be as long as the text.
    std::vector<std::pair<Op, size_t>> signs;
    for (;;) {
      if (accept("-")) {
        signs.emplace_back(Op::negate, at_ - 1);
      } else if (accept("!")) {
        signs.emplace_back(Op::logical_not, at_ - 1);
      } else if (!accept("+")) {
        break;
      }
    }
    ExpressionPtr operand = primary();
    for (auto sign = signs.rbegin(); !fault_ && sign != signs.rend(); ++sign) {
      operand = made(sign->first, {&operand, 1}, sign->second);
    }
    return operand;
  }

  ExpressionPtr primary() {
    skip_blanks();
    if (at_ >= text_.size()) return fail("expected a value, found the end of the program");
    if (is_digit(text_[at_]) || text_[at_] == '.') return number();
    if (is_letter(text_[at_])) return name();
    if (!accept("(")) return fail("expected a number, a name or '(', found " + found());
    ExpressionPtr inner = expression();
    if (!fault_) expect(")");
    return inner;
  }

  ExpressionPtr number() {
    const size_t start = at_;
    const char* begin = text_.data() + at_;
    const char* end_of_text = text_.data() + text_.size();
    float value = 0.0f;
    const auto [end, error] = std::from_chars(begin, end_of_text, value);
    if (error == std::errc::result_out_of_range) {
      return fail("a number between 1.2e-38 and 3.4e38 was expected");
    }
    if (error != std::errc()) return fail("expected a number, found " + found());
    at_ += static_cast<size_t>(end - begin);
    if (at_ < text_.size() && (is_letter(text_[at_]) || text_[at_] == '.')) {
      return fail("a number ends here, found " + found());
    }
    const std::string_view digits = text_.substr(start, at_ - start);
    if (digits.find_first_of(".eE") != std::string_view::npos) {
      return make_constant(ValueType::real, static_cast<double>(value), start + 1);
    }
    return integer(start, digits);
  }

  ExpressionPtr integer(size_t start, std::string_view digits) {
    int32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc()) {
      return fail_at(start, "an integer up to " +
                                std::to_string(std::numeric_limits<int32_t>::max()) +
                                " was expected; write " + std::string(digits) + ".0 for a real");
    }
    return make_constant(ValueType::integer, static_cast<double>(value), start + 1);
  }

  ExpressionPtr name() {
    const size_t start = at_;
    const std::string word(text_.substr(at_, name_length()));
    at_ += word.size();
    for (const Function& function : kFunctions) {
      if (function.name == word) return call(function, start);
    }
    for (const Op input : kInputs) {
      if (name_of(input) != word) continue;
      if (input == Op::score && kind_ == ProgramKind::mask) {
        return fail_at(start, "a mask program has no score: use b h q kv q_len kv_len");
      }
      return make_input(input, start + 1);
    }
    for (const auto& tensor : tensors_) {
      if (tensor->name == word) return read(tensor, start);
    }
    if (word == "doc") return doc(start);
    return fail_at(start, "unknown name '" + word + "': " + known_names());
  }

  std::string known_names() const {
    std::string names = "expected a function or one of";
    for (const Op input : kInputs) {
      if (input == Op::score && kind_ == ProgramKind::mask) continue;
      names.append(" ").append(name_of(input));
    }
    names += " doc[i]";
    for (const auto& tensor : tensors_) names += " " + tensor->name + "[...]";
    return names + "; tensors are declared under flex_tensors";
  }

  std::vector<ExpressionPtr> arguments(std::string_view close) {
    std::vector<ExpressionPtr> result;
    do {
      result.push_back(expression());
    } while (!fault_ && accept(","));
    if (!fault_) expect(close);
    return result;
  }

  ExpressionPtr call(const Function& function, size_t start) {
    if (!expect("(")) return nullptr;
    const std::vector<ExpressionPtr> args = arguments(")");
    if (fault_) return nullptr;
    if (args.size() != function.arity) {
      return fail_at(start, std::string(function.name) + " takes " +
                                std::to_string(function.arity) + " argument" +
                                (function.arity == 1 ? "" : "s") + ", found " +
                                std::to_string(args.size()));
    }
    if (function.name != "clamp") return made(function.op, args, start);
    const std::array above{made(Op::max, {args.data(), 2}, start), args[2]};
    return made(Op::min, above, start);
  }

  ExpressionPtr doc(size_t start) {
    if (!expect("[")) return nullptr;
    const std::vector<ExpressionPtr> indices = arguments("]");
    if (fault_) return nullptr;
    if (indices.size() != 1) return fail("doc takes one index, as in doc[q]");
    std::string message;
    ExpressionPtr result = make_doc(indices[0], start + 1, &message);
    return message.empty() ? result : fail_at(start, message);
  }

  // slopes[h], table[h, q] and table[h][q]
  ExpressionPtr read(const std::shared_ptr<const TensorInfo>& tensor, size_t start) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != '[') {
      return fail("tensor '" + tensor->name + "' needs an index, as in " + tensor->name +
                  "[h]; found " + found());
    }
    std::vector<ExpressionPtr> indices;
    while (!fault_ && accept("[")) {
      for (ExpressionPtr& index : arguments("]")) indices.push_back(std::move(index));
    }
    if (fault_) return nullptr;
    std::string message;
    ExpressionPtr result = make_read(tensor, indices, start + 1, &message);
    return message.empty() ? result : fail_at(start, message);
  }

  ProgramKind kind_;
  std::vector<std::shared_ptr<const TensorInfo>> tensors_;
  int nesting_ = 0;
};

// The division that every pair does by a constant zero; null when there is none.
const Check* sure_division_by_zero(const Code& code) {
  for (const Check& check : code.checks) {
    if (check.kind == Check::Kind::divisor && code.graph.is_constant(check.operand, 0.0) &&
        code.graph.is_constant(check.guard, 1.0)) {
      return &check;
    }
  }
  return nullptr;
}

}  // namespace
}  // namespace program

ParsedProgram parse_program(std::string_view text, ProgramKind kind,
                            const std::vector<TensorInfo>& tensors) {
  program::Parser parser(text, kind, tensors);
  const program::ExpressionPtr result = parser.parse();
  ParsedProgram parsed{std::nullopt, parser.fault()};
  if (parsed.fault) {
    return parsed;
  }
  try {
    parsed.program.emplace(kind, Value(result), tensors);
  } catch (const Error& error) {  // too large, or one tensor with two ranks
    parsed.fault = ProgramFault{0, error.what()};
    return parsed;
  }
  if (const program::Check* check = program::sure_division_by_zero(parsed.program->code())) {
    parsed.fault = ProgramFault{check->position, "division by zero"};
    parsed.program.reset();
  }
  return parsed;
}

namespace {

Program parsed_or_thrown(std::string_view text, ProgramKind kind,
                         const std::vector<TensorInfo>& tensors) {
  ParsedProgram parsed = parse_program(text, kind, tensors);
  if (!parsed.program) {
    const std::string where = parsed.fault->position == 0
                                  ? ""
                                  : "character " + std::to_string(parsed.fault->position) + ": ";
    throw Error(ErrorCode::invalid_argument, (kind == ProgramKind::mask ? "mask" : "score") +
                                                 std::string(" program, ") + where +
                                                 parsed.fault->message);
  }
  return *std::move(parsed.program);
}

}  // namespace

Program score_program(std::string_view text, const std::vector<TensorInfo>& tensors) {
  return parsed_or_thrown(text, ProgramKind::score, tensors);
}

Program mask_program(std::string_view text, const std::vector<TensorInfo>& tensors) {
  return parsed_or_thrown(text, ProgramKind::mask, tensors);
}

}  // namespace regard
