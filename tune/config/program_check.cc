#include "tune/config/program_check.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace tune {
namespace {

using Op = ProgramStep::Op;

constexpr size_t kMaxChars = 4096;
constexpr int kMaxDepth = 64;

struct NamedOp {
  std::string_view text;
  Op op;
  int arity;
};
constexpr std::array<NamedOp, 7> kNames = {{{"score", Op::score, 0},
                                            {"b", Op::b, 0},
                                            {"h", Op::h, 0},
                                            {"q", Op::q, 0},
                                            {"kv", Op::kv, 0},
                                            {"q_len", Op::q_len, 0},
                                            {"kv_len", Op::kv_len, 0}}};
constexpr std::array<NamedOp, 14> kFunctions = {{{"abs", Op::abs, 1},
                                                 {"min", Op::min, 2},
                                                 {"max", Op::max, 2},
                                                 {"exp", Op::exp, 1},
                                                 {"exp2", Op::exp2, 1},
                                                 {"log", Op::log, 1},
                                                 {"tanh", Op::tanh, 1},
                                                 {"sigmoid", Op::sigmoid, 1},
                                                 {"sqrt", Op::sqrt, 1},
                                                 {"rsqrt", Op::rsqrt, 1},
                                                 {"floor", Op::floor, 1},
                                                 {"pow", Op::pow, 2},
                                                 {"clamp", Op::clamp, 3},
                                                 {"where", Op::select, 3}}};

// Binary operators by level, loosest first; in a level the longer spelling comes first.
struct BinaryOp {
  std::string_view text;
  Op op;
  int level;
};
constexpr std::array<BinaryOp, 13> kBinary = {{{"||", Op::logical_or, 0},
                                               {"&&", Op::logical_and, 1},
                                               {"==", Op::equal, 2},
                                               {"!=", Op::not_equal, 2},
                                               {"<=", Op::less_equal, 3},
                                               {">=", Op::greater_equal, 3},
                                               {"<", Op::less, 3},
                                               {">", Op::greater, 3},
                                               {"+", Op::add, 4},
                                               {"-", Op::subtract, 4},
                                               {"*", Op::multiply, 5},
                                               {"/", Op::divide, 5},
                                               {"%", Op::modulo, 5}}};
constexpr int kTightestLevel = 5;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

template <size_t N>
const NamedOp* find_named(const std::array<NamedOp, N>& table, std::string_view name) {
  for (const NamedOp& entry : table) {
    if (entry.text == name) return &entry;
  }
  return nullptr;
}

class ProgramParser {
 public:
  ProgramParser(std::string_view text, ProgramKind kind, const std::vector<std::string>& tensors)
      : text_(text), kind_(kind), tensors_(tensors) {}

  Program parse() {
    if (text_.size() > kMaxChars) {
      fail("the program is longer than 4096 characters");
    } else {
      expression();
      skip_blanks();
      if (!fault_ && at_ < text_.size()) fail("expected an operator or the end, found " + found());
    }
    Program program;
    program.fault = std::move(fault_);
    if (!program.fault) program.steps = std::move(steps_);
    return program;
  }

 private:
  int32_t fail(std::string message) { return fail_at(at_, std::move(message)); }

  // The first fault counts; parsing goes on to the end of every open rule without consuming.
  int32_t fail_at(size_t at, std::string message) {
    if (!fault_) fault_ = ProgramFault{at + 1, std::move(message)};
    at_ = text_.size();
    return -1;
  }

  std::string found() const {
    if (at_ >= text_.size()) return "the end of the program";
    const size_t length = is_letter(text_[at_]) ? name_length() : 1;
    return std::string("'").append(text_.substr(at_, length)).append("'");
  }

  size_t name_length() const {
    size_t end = at_;
    while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
    return end - at_;
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool accept(std::string_view token) {
    skip_blanks();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  bool expect(std::string_view token) {
    if (accept(token)) return true;
    fail(std::string("expected '").append(token).append("', found ").append(found()));
    return false;
  }

  int32_t push(Op op, int32_t a = -1, int32_t b = -1, int32_t c = -1) {
    steps_.push_back({op, 0.0, a, b, c});
    return static_cast<int32_t>(steps_.size()) - 1;
  }

  int32_t expression() {
    if (++depth_ > kMaxDepth) return fail("nested deeper than 64 levels");
    int32_t result = binary(0);
    if (!fault_ && accept("?")) {
      const int32_t if_true = expression();
      if (!fault_ && expect(":")) result = push(Op::select, result, if_true, expression());
    }
    --depth_;
    return result;
  }

  const BinaryOp* accept_binary(int level) {
    for (const BinaryOp& candidate : kBinary) {
      if (candidate.level == level && accept(candidate.text)) return &candidate;
    }
    return nullptr;
  }

  int32_t binary(int level) {
    if (level > kTightestLevel) return unary();
    int32_t left = binary(level + 1);
    while (!fault_) {
      const BinaryOp* op = accept_binary(level);
      if (op == nullptr) break;
      left = push(op->op, left, binary(level + 1));
    }
    return left;
  }

  int32_t unary() {
    // A run of signs is a loop, not a recursion: "- - - x" may be as long as the text.
    std::vector<Op> signs;
    for (;;) {
      if (accept("-")) {
        signs.push_back(Op::negate);
      } else if (accept("!")) {
        signs.push_back(Op::logical_not);
      } else if (!accept("+")) {
        break;
      }
    }
    int32_t operand = primary();
    for (auto sign = signs.rbegin(); sign != signs.rend(); ++sign) operand = push(*sign, operand);
    return operand;
  }

  int32_t primary() {
    skip_blanks();
    if (at_ >= text_.size()) return fail("expected a value, found the end of the program");
    if (is_digit(text_[at_]) || text_[at_] == '.') return number();
    if (is_letter(text_[at_])) return name();
    if (!accept("(")) return fail("expected a number, a name or '(', found " + found());
    const int32_t inner = expression();
    if (!fault_) expect(")");
    return inner;
  }

  int32_t number() {
    double value = 0.0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) return fail("expected a number, found " + found());
    at_ += static_cast<size_t>(end - begin);
    if (at_ < text_.size() && (is_letter(text_[at_]) || text_[at_] == '.')) {
      return fail("a number ends here, found " + found());
    }
    const int32_t index = push(Op::constant);
    steps_.back().value = value;
    return index;
  }

  int32_t name() {
    const size_t start = at_;
    const std::string word(text_.substr(at_, name_length()));
    at_ += word.size();
    if (const NamedOp* function = find_named(kFunctions, word)) return call(*function);
    if (const NamedOp* known = find_named(kNames, word)) {
      if (known->op == Op::score && kind_ == ProgramKind::mask) {
        return fail_at(start, "a mask program has no score: use b h q kv q_len kv_len");
      }
      return push(known->op);
    }
    if (word == "doc") return doc();
    if (std::count(tensors_.begin(), tensors_.end(), word) > 0) return tensor(word);
    return fail_at(start, "unknown name '" + word + "': " + known_names());
  }

  std::string known_names() const {
    std::string names = "expected a function or one of";
    for (const NamedOp& known : kNames) {
      if (known.op == Op::score && kind_ == ProgramKind::mask) continue;
      names.append(" ").append(known.text);
    }
    names += " doc[i]";
    for (const std::string& tensor : tensors_) names += " " + tensor + "[...]";
    return names + "; tensors are declared under flex_tensors";
  }

  std::vector<int32_t> arguments(std::string_view close) {
    std::vector<int32_t> result;
    do {
      result.push_back(expression());
    } while (!fault_ && accept(","));
    if (!fault_) expect(close);
    return result;
  }

  int32_t call(const NamedOp& function) {
    const size_t start = at_ - function.text.size();
    if (!expect("(")) return -1;
    const std::vector<int32_t> args = arguments(")");
    if (fault_) return -1;
    if (args.size() != static_cast<size_t>(function.arity)) {
      return fail_at(start, std::string(function.text) + " takes " +
                                std::to_string(function.arity) + " argument" +
                                (function.arity == 1 ? "" : "s") + ", found " +
                                std::to_string(args.size()));
    }
    return push(function.op, args[0], function.arity > 1 ? args[1] : -1,
                function.arity > 2 ? args[2] : -1);
  }

  int32_t doc() {
    if (!expect("[")) return -1;
    const std::vector<int32_t> indices = arguments("]");
    if (fault_) return -1;
    if (indices.size() != 1) return fail("doc takes one index, as in doc[q]");
    return push(Op::doc, indices[0]);
  }

  int32_t tensor(const std::string& word) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != '[') {
      return fail("tensor '" + word + "' needs an index, as in " + word + "[h]; found " + found());
    }
    while (!fault_ && accept("[")) arguments("]");  // slopes[h], table[h, q] and table[h][q]
    return fault_ ? -1 : push(Op::tensor);
  }

  std::string_view text_;
  ProgramKind kind_;
  const std::vector<std::string>& tensors_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<ProgramStep> steps_;
  std::optional<ProgramFault> fault_;
};

}  // namespace

Program parse_program(std::string_view text, ProgramKind kind,
                      const std::vector<std::string>& tensors) {
  return ProgramParser(text, kind, tensors).parse();
}

}  // namespace tune
