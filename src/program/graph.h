// The expression graph in single assignment form: operands stand before their users, equal nodes
// exist once, and nodes are simplified when they are added. Every simplification is exact in IEEE
// 754 (x + 0.0 stays, because -0.0 + 0.0 is not -0.0).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "program/op.h"
#include "regard/program.h"

namespace regard::program {

// What a value can differ by: bits of Node::depends.
inline constexpr uint8_t kOnScore = 1, kOnKey = 2, kOnQuery = 4, kOnHead = 8, kOnBatch = 16,
                         kOnDocument = 32;  // kOnDocument: q_len, kv_len, doc

struct Node {
  Op op = Op::constant;
  ValueType type = ValueType::integer;
  uint8_t depends = 0;
  int8_t num_operands = 0;
  std::array<int32_t, kMaxOperands> operands{-1, -1, -1, -1};
  int32_t tensor = -1;  // of read: its place in the program's tensor list
  double constant = 0.0;
};

class Graph {
 public:
  // The node that computes `op`, simplified; the type of operands and result are as expressions
  // have them.
  int32_t add(Op op, ValueType type, std::span<const int32_t> operands, int32_t tensor = -1);
  int32_t add_constant(ValueType type, double value);
  // Shorthands for derivatives and conditions.
  int32_t real(double value) { return add_constant(ValueType::real, value); }
  int32_t truth(bool value) { return add_constant(ValueType::boolean, value ? 1.0 : 0.0); }
  int32_t unary(Op op, int32_t x) { return add(op, node(x).type, std::array{x}); }
  int32_t binary(Op op, int32_t x, int32_t y) { return add(op, node(x).type, std::array{x, y}); }
  int32_t compare(Op op, int32_t x, int32_t y) {
    return add(op, ValueType::boolean, std::array{x, y});
  }
  int32_t select(int32_t condition, int32_t x, int32_t y) {
    return add(Op::select, node(x).type, std::array{condition, x, y});
  }

  const Node& node(int32_t index) const { return nodes_[static_cast<size_t>(index)]; }
  const std::vector<Node>& nodes() const { return nodes_; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }
  bool is_constant(int32_t index, double value) const {
    return node(index).op == Op::constant && node(index).constant == value;
  }

  // Nodes that `roots` need, ascending.
  std::vector<int32_t> reachable(std::span<const int32_t> roots) const;

 private:
  using Key = std::tuple<Op, ValueType, std::array<int32_t, kMaxOperands>, int32_t, uint64_t>;

  int32_t insert(Node node);
  // The simpler node that equals the given one; -1 when there is none.
  int32_t simplified(const Node& node);
  int32_t folded(const Node& node);
  int32_t simplified_logic(const Node& node);
  int32_t simplified_arithmetic(const Node& node);
  int32_t simplified_real(const Node& node);

  std::vector<Node> nodes_;
  std::map<Key, int32_t> known_;
};

}  // namespace regard::program
