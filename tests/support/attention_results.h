// Everything a forward and a backward write, in guarded memory that is NaN until it is written.
#pragma once

#include <vector>

#include "regard/problem.h"
#include "tests/support/attention_case.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {

class AttentionResults {
 public:
  // In the dtypes and layout of the case, as a back end under test writes them.
  AttentionResults(const AttentionCase& config, const CaseOperands& operands);
  // In f32, as the reference writes them.
  explicit AttentionResults(const CaseOperands& operands);

  ForwardOutputs outputs() { return {.o = o.view(), .lse = lse.view()}; }
  BackwardTensors tensors(const CaseOperands& operands);

  bool guards_intact() const;
  bool has_same_bits(const AttentionResults& other) const;

  GuardedTensor o, dq, dk, dv;
  GuardedLse lse;
  GuardedTensor d_bias;  // [B, Sq, Hq, Sk], 1 where the bias broadcasts; empty where not asked for
  GuardedTensor d_slopes;                // [1, 1, B or 1, Hq], empty likewise
  GuardedTensor d_sink;                  // [1, 1, 1, Hq], empty likewise
  std::vector<GuardedTensor> d_tensors;  // of the score program, [1, 1, 1, elements]

 private:
  AttentionResults(const CaseOperands& operands, DType o_dtype, DType gradient_dtype,
                   Layout layout);

  std::vector<float*> d_tensor_pointers_;
};

}  // namespace regard::testing
