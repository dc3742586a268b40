#include "program/derivative.h"

#include <vector>

namespace regard::program {
namespace {

constexpr int32_t kZero = -1;

class Differentiator {
 public:
  Differentiator(Graph& graph, int32_t seed) : graph_(graph), seed_(seed) {}

  int32_t run(int32_t root) {
    d_.assign(static_cast<size_t>(root) + 1, kZero);
    for (const int32_t node : graph_.reachable(std::array{root})) {
      d_[static_cast<size_t>(node)] = of(node);
    }
    return d_[static_cast<size_t>(root)];
  }

 private:
  // The graph grows while derivatives are added, so nodes are copied.
  int32_t of(int32_t index) {
    const Node node = graph_.node(index);
    if (index == seed_) {
      return graph_.real(1.0);
    }
    if (node.type != ValueType::real || node.num_operands == 0 || node.op == Op::read) {
      return kZero;
    }
    if (node.op == Op::select) {
      return selected(node.operands[0], d(node.operands[1]), d(node.operands[2]));
    }
    const int32_t x = node.operands[0];
    if (node.num_operands == 1) {
      return d(x) == kZero ? kZero : of_function(node.op, index, x);
    }
    return of_binary(node.op, index, x, node.operands[1]);
  }

  int32_t d(int32_t node) const { return d_[static_cast<size_t>(node)]; }

  int32_t plus(int32_t x, int32_t y) {
    if (x == kZero) return y;
    return y == kZero ? x : graph_.binary(Op::add, x, y);
  }
  int32_t minus(int32_t x) { return x == kZero ? kZero : graph_.unary(Op::negate, x); }
  int32_t times(int32_t x, int32_t y) {
    return x == kZero || y == kZero ? kZero : graph_.binary(Op::multiply, x, y);
  }
  int32_t over(int32_t x, int32_t y) {
    return x == kZero ? kZero : graph_.binary(Op::divide, x, y);
  }
  int32_t selected(int32_t condition, int32_t x, int32_t y) {
    if (x == y) return x;
    const int32_t if_true = x == kZero ? graph_.real(0.0) : x;
    return graph_.select(condition, if_true, y == kZero ? graph_.real(0.0) : y);
  }

  int32_t of_function(Op op, int32_t result, int32_t x) {
    const int32_t dx = d(x);
    const int32_t one = graph_.real(1.0);
    switch (op) {
      case Op::negate:
        return minus(dx);
      case Op::abs: {  // 0 at 0
        const int32_t zero = graph_.real(0.0);
        return selected(graph_.compare(Op::less, zero, x), dx,
                        selected(graph_.compare(Op::less, x, zero), minus(dx), kZero));
      }
      case Op::exp:
        return times(dx, result);
      case Op::exp2:
        return times(dx, times(result, graph_.real(0.69314718055994530942)));
      case Op::log:
        return over(dx, x);
      case Op::tanh:
        return times(dx, graph_.binary(Op::subtract, one, times(result, result)));
      case Op::sigmoid:
        return times(dx, times(result, graph_.binary(Op::subtract, one, result)));
      case Op::sqrt:
        return over(times(dx, graph_.real(0.5)), result);
      case Op::rsqrt:
        return times(dx, times(graph_.real(-0.5), times(result, times(result, result))));
      default:  // floor
        return kZero;
    }
  }

  int32_t of_binary(Op op, int32_t result, int32_t x, int32_t y) {
    const int32_t dx = d(x), dy = d(y);
    if (dx == kZero && dy == kZero) {
      return kZero;
    }
    switch (op) {
      case Op::add:
        return plus(dx, dy);
      case Op::subtract:
        if (dy == kZero) return dx;
        return dx == kZero ? minus(dy) : graph_.binary(Op::subtract, dx, dy);
      case Op::multiply:
        return plus(times(dx, y), times(x, dy));
      case Op::divide:
        return plus(over(dx, y), minus(over(times(result, dy), y)));
      case Op::modulo:  // x - trunc(x / y) * y; the quotient is (x - result) / y
        return plus(dx, minus(times(dy, over(graph_.binary(Op::subtract, x, result), y))));
      case Op::min:
        return selected(graph_.compare(Op::less, y, x), dy, dx);
      case Op::max:
        return selected(graph_.compare(Op::less, x, y), dy, dx);
      default:
        return of_pow(result, x, y);
    }
  }

  int32_t of_pow(int32_t result, int32_t x, int32_t y) {
    int32_t sum = kZero;
    if (d(x) != kZero) {
      const int32_t lower =
          graph_.binary(Op::pow, x, graph_.binary(Op::subtract, y, graph_.real(1.0)));
      sum = times(d(x), times(y, lower));
    }
    if (d(y) != kZero) {
      sum = plus(sum, times(d(y), times(result, graph_.unary(Op::log, x))));
    }
    return sum;
  }

  Graph& graph_;
  int32_t seed_;
  std::vector<int32_t> d_;
};

}  // namespace

int32_t derivative(Graph& graph, int32_t root, int32_t seed) {
  return seed < 0 ? kZero : Differentiator(graph, seed).run(root);
}

}  // namespace regard::program
