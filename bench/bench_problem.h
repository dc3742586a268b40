// Random attention problems for benchmarks, checked against the reference before they are timed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regard/attention.h"

namespace regard::bench {

// What is added to scores: a mask or bias [H, Sq, Sk], the latter or ALiBi slopes with a gradient.
enum class Terms : uint8_t { none, mask, bias, d_bias, d_slopes };

struct Shape {
  int64_t batch, q_heads, kv_heads, q_len, k_len, head_dim;
  Causal causal;
  int64_t window_left = -1;
  Terms terms = Terms::none;
};

// "1.8.8.2048.2048.64/causal"
std::string id_of(const Shape& shape);

// Floating-point operations of the two products of a forward: 4 * B * Hq * D for every pair of
// query and key that sees each other (half of Sq * Sk under a causal mask). A backward takes 2.5
// times that (five products).
double forward_flops(const Shape& shape);

// Operands, outputs and gradients in [B, S, H, D], normal random values; for cpu_sage with the
// module's own quantisation.
class BenchProblem {
 public:
  BenchProblem(const Shape& shape, DType dtype, Backend backend);

  Problem problem() const { return problem_; }
  ForwardOutputs outputs() { return {views_[3], lse_view_}; }
  BackwardTensors gradients();

  // Empty when the back end agrees with the reference on this shape cut to 160 tokens (everything)
  // and, but for cpu_sage whose groups of rows would be others, on the last four query rows at full
  // length (O); else what differs.
  static std::string check(const Shape& shape, DType dtype, Backend backend);

 private:
  void add_terms(const Shape& shape);

  Problem problem_;
  std::vector<std::vector<uint32_t>> memory_;
  std::vector<View> views_;  // q k v o d_o dq dk dv
  std::vector<float> lse_, bias_, d_bias_, slopes_, d_slopes_;
  std::vector<uint8_t> mask_;
  LseView lse_view_;
};

}  // namespace regard::bench
