// The products of an int8 backward (Quantization::int8_backward; SageBwd, Zhang et al. 2025,
// arXiv 2505.11594): dO, P and dS become int8 before they are multiplied.
//
// Math     a tile is 128 queries by 64 keys of one head, counted from the sequence's first;
//          P^ = p * m in int8 with the scale max / 127 of its tile, dS^ likewise, dO^ with one
//          scale for each 128 queries:
//            dV += P^^T dO^      dQ = scale * dS^ k'^      dK += scale * dS^^T q^
//          dP = dO . v^ takes dO as it is: rounding it there costs most. Row sums of dS, which
//          carry the mean of K into dQ, are exact.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/operands.h"

namespace regard::reference {

// What the rows of one query head found, kept until all are known.
class Int8Products {
 public:
  Int8Products(int64_t q_len, int64_t k_len);

  // Weight times dropout multiplier, and gradient of the score, of one pair.
  void set(int64_t query, int64_t key, double weight, double ds);

  // Adds to dq [q_len][k~ elements], dk and dv. Of k~ the first `int8_dim` elements are keys, what
  // follows takes exact dS.
  void add_to(const HeadOperands& operands, const Rows& d_o, double scale, int64_t int8_dim,
              Rows& dq, Rows& dk, Rows& dv);

 private:
  std::vector<float> weights_, ds_;  // [q_len][k_len]
  int64_t q_len_, k_len_;
};

}  // namespace regard::reference
