#include "tests/support/attention_results.h"

namespace regard::testing {

AttentionResults::AttentionResults(const AttentionCase& config, const CaseOperands& operands)
    : AttentionResults(operands.problem(), config.dtype, config.gradient_dtype, config.layout) {}

AttentionResults::AttentionResults(const CaseOperands& operands)
    : AttentionResults(operands.problem(), DType::f32, DType::f32, Layout::bshd) {}

AttentionResults::AttentionResults(const Problem& problem, DType o_dtype, DType gradient_dtype,
                                   Layout layout)
    : o(o_dtype, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim}, layout),
      dq(gradient_dtype, shape_of(problem.q), layout),
      dk(gradient_dtype, shape_of(problem.k), layout),
      dv(gradient_dtype, shape_of(problem.v), layout),
      lse(problem.q.batch, problem.q.heads, problem.q.seq) {}

BackwardTensors AttentionResults::tensors(const CaseOperands& operands) {
  return {.o = o.view(),
          .lse = lse.view(),
          .d_o = operands.d_o(),
          .d_lse = operands.d_lse(),
          .dq = dq.view(),
          .dk = dk.view(),
          .dv = dv.view()};
}

bool AttentionResults::guards_intact() const {
  return o.guards_intact() && dq.guards_intact() && dk.guards_intact() && dv.guards_intact() &&
         lse.guards_intact();
}

bool AttentionResults::has_same_bits(const AttentionResults& other) const {
  return o.bytes() == other.o.bytes() && dq.bytes() == other.dq.bytes() &&
         dk.bytes() == other.dk.bytes() && dv.bytes() == other.dv.bytes() &&
         lse.bytes() == other.lse.bytes();
}

}  // namespace regard::testing
