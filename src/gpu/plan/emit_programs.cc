#include "gpu/plan/emit_programs.h"

#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <mutex>
#include <string_view>
#include <vector>

#include "program/code.h"
#include "regard/program.h"

namespace regard::gpu {
namespace {

using program::Node;
using program::Op;

std::string name_of(int32_t node) { return "v" + std::to_string(node); }

const char* type_name(ValueType type) {
  return type == ValueType::real ? "float" : type == ValueType::integer ? "int" : "bool";
}

std::string real_literal(double value) {
  if (std::isnan(value)) {
    return "(infinity() - infinity())";
  }
  if (std::isinf(value)) {
    return value < 0 ? "(-infinity())" : "infinity()";
  }
  char text[64];
  std::snprintf(text, sizeof text, "%af", value);
  return text;
}

std::string constant(const Node& node) {
  switch (node.type) {
    case ValueType::real:
      return real_literal(node.constant);
    case ValueType::integer:  // -2147483648 is no literal
      return "static_cast<int>(" +
             std::to_string(static_cast<uint32_t>(static_cast<int64_t>(node.constant))) + "u)";
    default:
      return node.constant != 0.0 ? "true" : "false";
  }
}

const char* input_name(Op op) {
  switch (op) {
    case Op::score:
      return "score";
    case Op::b:
      return "at.batch";
    case Op::h:
      return "at.head";
    case Op::q:
      return "at.query";
    case Op::kv:
      return "at.key";
    case Op::q_len:
      return "at.q_len";
    case Op::kv_len:
      return "at.k_len";
    default:
      return "at.document";
  }
}

// An operation in C++: a function, or the operator between two operands where `is_operator`.
struct Form {
  const char* text;
  bool is_operator = false;
};

Form integer_form(Op op) {
  switch (op) {
    case Op::add:
      return {"wrapping_add"};
    case Op::subtract:
      return {"wrapping_subtract"};
    case Op::multiply:
      return {"wrapping_multiply"};
    case Op::divide:
      return {"wrapping_divide"};
    case Op::modulo:
      return {"wrapping_modulo"};
    case Op::negate:
      return {"wrapping_subtract(0, "};
    default:
      return {"wrapping_abs"};
  }
}

// Operations on positions are rounded one by one, as the reference rounds them; on what depends on
// the score they may be fused, and a quotient may err by 2 ulp: an IEEE division takes 8 times as
// long.
Form real_form(Op op, bool may_fuse) {
  switch (op) {
    case Op::add:
      return {" + ", true};
    case Op::subtract:
      return {" - ", true};
    case Op::multiply:
      return may_fuse ? Form{" * ", true} : Form{"rounded_product"};
    case Op::divide:
      return may_fuse ? Form{"quotient_fast"} : Form{" / ", true};
    case Op::modulo:
      return {"real_modulo"};
    case Op::abs:
      return {"real_abs"};
    case Op::exp:
      return {"real_exp"};
    case Op::exp2:
      return {"real_exp2"};
    case Op::log:
      return {"real_log"};
    case Op::tanh:
      return {"real_tanh"};
    case Op::sigmoid:
      return {"real_sigmoid"};
    case Op::sqrt:
      return {"real_sqrt"};
    case Op::rsqrt:
      return {"1.0f / real_sqrt"};
    case Op::floor:
      return {"real_floor"};
    default:
      return {"real_pow"};
  }
}

Form comparison_form(Op op) {
  switch (op) {
    case Op::less:
      return {" < ", true};
    case Op::less_equal:
      return {" <= ", true};
    case Op::equal:
      return {" == ", true};
    case Op::logical_and:
      return {" && ", true};
    default:
      return {" || ", true};
  }
}

// One function of the text: the nodes that it needs, each a constant variable.
class Function {
 public:
  Function(const program::Code& code, const char* tensors)
      : graph_(code.graph), tensors_(tensors) {}

  // Declares variables for everything that `roots` are made of.
  std::string body(std::initializer_list<int32_t> roots) const { return body(std::vector(roots)); }
  std::string body(const std::vector<int32_t>& roots) const {
    std::vector<bool> is_needed(graph_.nodes().size());
    int32_t last = -1;
    for (const int32_t root : roots) {
      if (root >= 0) {
        is_needed[static_cast<size_t>(root)] = true;
        last = std::max(last, root);
      }
    }
    for (int32_t i = last; i >= 0; --i) {
      const Node& node = graph_.node(i);
      if (!is_needed[static_cast<size_t>(i)]) {
        continue;
      }
      for (size_t o = 0; o < static_cast<size_t>(node.num_operands); ++o) {
        is_needed[static_cast<size_t>(node.operands[o])] = true;
      }
    }
    std::string text;
    for (int32_t i = 0; i <= last; ++i) {
      if (is_needed[static_cast<size_t>(i)]) {
        const Node& node = graph_.node(i);
        text += std::string("  const ") + type_name(node.type) + " " + name_of(i) + " = " +
                value(node) + ";\n";
      }
    }
    return text;
  }

  // "p.score_tensors[2], v5, v7"
  std::string indices(const Node& read) const {
    return std::string("p.") + tensors_ + "[" + std::to_string(read.tensor) + "]" + operands(read);
  }

 private:
  std::string operand(const Node& node, size_t index) const {
    return name_of(node.operands[index]);
  }
  std::string operands(const Node& node) const {
    std::string text;
    for (size_t i = 0; i < static_cast<size_t>(node.num_operands); ++i) {
      text += ", " + operand(node, i);
    }
    return text;
  }
  std::string joined(const Node& node, const Form& form) const {
    if (form.is_operator) {
      return operand(node, 0) + form.text + operand(node, 1);
    }
    const std::string_view text = form.text;
    const bool is_open = text.ends_with(", ");
    return std::string(text) + (is_open ? "" : "(") + operands(node).substr(2) + ")";
  }

  std::string value(const Node& node) const {
    switch (node.op) {
      case Op::constant:
        return constant(node);
      case Op::read:
        return std::string("tensor_element<") + type_name(node.type) + ">(" + indices(node) + ")";
      case Op::to_integer:
        return "static_cast<int>(" + operand(node, 0) + ")";
      case Op::to_real:
        return "static_cast<float>(" + operand(node, 0) + ")";
      case Op::to_index:
        return "index_of_real(" + operand(node, 0) + ")";
      case Op::truth:
        return operand(node, 0) + " != 0";
      case Op::logical_not:
        return "!" + operand(node, 0);
      case Op::select:
        return operand(node, 0) + " ? " + operand(node, 1) + " : " + operand(node, 2);
      case Op::less:
      case Op::less_equal:
      case Op::equal:
      case Op::logical_and:
      case Op::logical_or:
        return joined(node, comparison_form(node.op));
      case Op::min:
        return joined(node, {"first_minimum"});
      case Op::max:
        return joined(node, {"first_maximum"});
      default:
        return node.num_operands == 0 ? input_name(node.op) : arithmetic(node);
    }
  }
  std::string arithmetic(const Node& node) const {
    if (node.type != ValueType::real) {
      return joined(node, integer_form(node.op));
    }
    if (node.op == Op::negate) {
      return "-" + operand(node, 0);
    }
    return joined(node, real_form(node.op, (node.depends & program::kOnScore) != 0));
  }

  const program::Graph& graph_;
  const char* tensors_;
};

constexpr const char* kUnused = "  static_cast<void>(p);\n  static_cast<void>(at);\n";

std::string emit_score(const program::Code& code) {
  const Function function(code, "score_tensors");
  const std::string slope = code.d_score < 0 ? "0.0f" : name_of(code.d_score);
  return "REGARD_DEVICE ProgramScore score_program(const ProblemParams& p, const ProgramPair& at,\n"
         "                                         float score) {\n" +
         std::string(kUnused) + "  static_cast<void>(score);\n" +
         function.body({code.root, code.d_score}) + "  return {" + name_of(code.root) + ", " +
         slope + "};\n}\n";
}

std::string emit_reads(const program::Code& code) {
  const Function function(code, "score_tensors");
  std::vector<int32_t> roots;
  std::string calls;
  for (const program::ReadDerivative& read : code.d_reads) {
    const Node& node = code.graph.node(read.node);
    roots.insert(roots.end(), node.operands.begin(), node.operands.begin() + node.num_operands);
    roots.push_back(read.value);
    calls += "  add(" + std::to_string(node.tensor) + ", gradient_element(" +
             function.indices(node) + "), " + name_of(read.value) + ");\n";
  }
  return "template <typename Add>\n"
         "REGARD_DEVICE void score_program_reads(const ProblemParams& p, const ProgramPair& at,\n"
         "                                       float score, const Add& add) {\n" +
         std::string(kUnused) + "  static_cast<void>(score);\n  static_cast<void>(add);\n" +
         function.body(roots) + calls + "}\n";
}

std::string emit_mask(const program::Code& code) {
  return "REGARD_DEVICE bool mask_program(const ProblemParams& p, const ProgramPair& at) {\n" +
         std::string(kUnused) + Function(code, "mask_tensors").body({code.root}) + "  return " +
         name_of(code.root) + ";\n}\n";
}

std::string emit(const program::Code& score, const program::Code& mask) {
  return "#pragma once\n\n#include \"program_functions.cuh\"\n\nnamespace regard::gpu {\n\n" +
         emit_score(score) + "\n" + emit_reads(score) + "\n" + emit_mask(mask) +
         "\n}  // namespace regard::gpu\n";
}

// Texts of the latest pairs of programs: every call asks, and writing one takes 10 µs. The copies
// share their programs' code and so keep its address from becoming another program's.
class Texts {
 public:
  std::string of(const Program& score, const Program& mask) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Entry& entry : entries_) {
      if (&entry.score.code() == &score.code() && &entry.mask.code() == &mask.code()) {
        return entry.text;
      }
    }
    if (entries_.size() == kMostEntries) {
      entries_.erase(entries_.begin());
    }
    entries_.push_back({score, mask, emit(score.code(), mask.code())});
    return entries_.back().text;
  }

 private:
  struct Entry {
    Program score, mask;
    std::string text;
  };
  static constexpr size_t kMostEntries = 32;
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace

std::string emit_programs(const Problem& problem) {
  const Program* score = problem.score_program.program;
  const Program* mask = problem.mask_program.program;
  if (score == nullptr && mask == nullptr) {
    return "";
  }
  static const Program no_score = score_program(
      [](const Value& x, const Value&, const Value&, const Value&, const Value&) { return x; });
  static const Program no_mask = mask_program(
      [](const Value&, const Value&, const Value&, const Value&) { return Value(true); });
  static Texts texts;
  return texts.of(score != nullptr ? *score : no_score, mask != nullptr ? *mask : no_mask);
}

}  // namespace regard::gpu
