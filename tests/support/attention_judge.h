// Judges results by the rule of docs/attention.md: the reference in double says what is right, the
// plain formula in the operands' dtype says how large an error is fair.
#pragma once

#include "tests/support/attention_case.h"
#include "tests/support/attention_results.h"
#include "tests/support/plain_formula.h"

namespace regard::testing {

// One case with what is right for it, computed once; results of any number of back ends follow.
class AttentionJudge {
 public:
  explicit AttentionJudge(const AttentionCase& config);

  const AttentionCase& config() const { return config_; }
  const CaseOperands& operands() const { return operands_; }
  const Problem& problem() const { return operands_.problem(); }

  // GoogleTest expectations, one for each output, and that nothing beside the outputs was touched.
  void expect_right(const AttentionResults& got) const;
  // The same where no backward ran.
  void expect_forward_right(const AttentionResults& got) const;

 private:
  // What tiling costs in principle, where the plain formula may be exact by luck:
  // - weights come from f32 scores, so they carry relative errors of |score| * 2^-24, twice;
  // - delta = dO . O is summed from the O that was stored, each element rounded to its dtype.
  struct Noise {
    double relative;  // of every weight
    double delta;     // of every delta
  };
  Noise noise() const;
  void expect_score_gradients(const AttentionResults& got) const;
  void expect_tensor(const char* name, const std::vector<float>& got,
                     const std::vector<float>& exact, const std::vector<float>& plain,
                     double noise) const;

  AttentionCase config_;
  CaseOperands operands_;
  AttentionResults exact_;
  PlainResults plain_;
};

}  // namespace regard::testing
