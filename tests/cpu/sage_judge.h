// What is right for a quantised case, and which error is fair: the rule of docs/attention.md, with
// the plain formula over the quantised operands, plus the error that the format of P and V brings
// in itself (a weight near the middle of two values may round either way). Of an int8 backward, the
// slack of those values that may round either way (int8_slack.h) is added to the gradients they
// enter.
#pragma once

#include <string>
#include <vector>

#include "tests/support/attention_case.h"
#include "tests/support/attention_results.h"

namespace regard::testing {

class SageJudge {
 public:
  explicit SageJudge(const AttentionCase& config);

  const CaseOperands& operands() const { return operands_; }
  const Problem& problem() const { return operands_.problem(); }
  void expect_right(const AttentionResults& got) const;
  // The same where no backward ran.
  void expect_forward_right(const AttentionResults& got) const;
  // The gradients ("dq dk dv") of `got` that are beyond what is allowed.
  std::string wrong_gradients(const AttentionResults& got) const;

 private:
  struct Results {
    std::vector<float> o, lse, dq, dk, dv;
  };
  struct Errors {
    double o = 0, dq = 0, dk = 0, dv = 0;
  };
  // One output beside its expected value.
  struct Output {
    const char* name;
    std::vector<float> got;
    const std::vector<float>& right;
    double plain, format;            // largest error of the plain formula, of the value format
    double delta = 0;                // what the rounding of delta may add
    std::vector<double> slack = {};  // by element; empty: none
  };

  static Results reference_results(const Problem& problem, const CaseOperands& operands);
  static Errors difference(const Results& a, const Results& b);
  std::vector<Output> outputs_of(const AttentionResults& got) const;
  void expect_outputs_right(const std::vector<Output>& outputs, const AttentionResults& got) const;
  double allowed(const Output& output) const;  // without slack
  double excess(const Output& output) const;   // largest error beyond what is allowed
  double largest_norm() const;

  AttentionCase config_;
  CaseOperands operands_;
  Results exact_;
  Errors format_error_, plain_error_;
};

// Forward and backward of the int8 CPU kernels.
AttentionResults run_sage(const AttentionCase& config, const CaseOperands& operands);

}  // namespace regard::testing
