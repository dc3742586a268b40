// The meaning of Problem.quantization: which numbers stand for Q, K and V, one sequence at a time.
//
// Math     k_j = mean + k'_j; q^ and k'^ are q and k' in int8 times their group's scale, v^ is v in
//          its format, and the score is
//            s_ij = scale * (q^_i . k'^_j + q_i . mean)          (mean = 0 without smoothing)
//          The last term is the same for all keys of a row: a plain softmax does not see it and the
//          LSE does; with softcap, a sink or a program the weights need it too. Everything after
//          the score is as without quantisation, but that P V takes the rounded weights of
//          core/int8_groups.h while the denominator takes the exact ones.
// Gradient straight through: d q^ / d q, d k'^ / d k and d v^ / d v are the identity, so that
//            dQ_i = scale * (sum_j ds_ij k'^_j + (sum_j ds_ij) mean)       dK_j = scale * sum_i
//            ds_ij q^_i
//          delta_i = dO_i . O_i takes the O of the rounded weights, dV the exact weights. Without
//          softcap, sink or program sum_j ds_ij = dLSE_i: the mean then only carries dLSE.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sequences.h"
#include "regard/problem.h"

namespace regard::reference {

bool is_quantized(const Problem& problem);

// A problem's operands as its scores and values see them. For a problem without quantisation the
// problem itself; otherwise a copy with operands of its own. The mean's term is one more element of
// the head: q~ = [q^, q . mean], k~ = [k'^, 1].
class SequenceOperands {
 public:
  explicit SequenceOperands(const Problem& problem);

  // The problem whose exact scores are those of `sequence`; only rows of this sequence may be read.
  // Valid until the next call. Its quantization says scores = exact and keeps the format of P.
  const Problem& of(const core::Sequence& sequence);

  // From the gradient of q~, row by row, to that of q (D elements).
  void finish_dq(int64_t kv_head, std::vector<double>& dq) const;

 private:
  void quantize_keys(const core::Sequence& sequence, int64_t kv_head);
  void quantize_queries(const core::Sequence& sequence, int64_t head);
  void round_values(const core::Sequence& sequence, int64_t kv_head);
  bool has_shift() const;

  const Problem& problem_;
  Problem selected_;
  std::vector<float> q_, k_, v_;
  std::vector<float> mean_;  // [Hkv][D]
};

}  // namespace regard::reference
