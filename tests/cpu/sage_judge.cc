#include "tests/cpu/sage_judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/sequences.h"
#include "cpu/sage_attention.h"
#include "reference/attention.h"
#include "reference/quantize.h"
#include "tests/cpu/int8_slack.h"
#include "tests/support/plain_formula.h"
#include "tests/support/tensor_difference.h"

namespace regard::testing {

SageJudge::Results SageJudge::reference_results(const Problem& problem,
                                                const CaseOperands& operands) {
  GuardedTensor o(DType::f32, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim},
                  Layout::bshd);
  GuardedTensor dq(DType::f32, shape_of(problem.q), Layout::bshd),
      dk(DType::f32, shape_of(problem.k), Layout::bshd),
      dv(DType::f32, shape_of(problem.v), Layout::bshd);
  GuardedLse lse(problem.q.batch, problem.q.heads, problem.q.seq);
  reference::forward(problem, {.o = o.view(), .lse = lse.view()});
  BackwardTensors tensors{
      .o = o.view(), .lse = lse.view(), .d_o = operands.d_o(), .d_lse = operands.d_lse()};
  tensors.dq = dq.view();
  tensors.dk = dk.view();
  tensors.dv = dv.view();
  reference::backward(problem, tensors);
  return {o.dense(), lse.dense(), dq.dense(), dk.dense(), dv.dense()};
}

SageJudge::Errors SageJudge::difference(const Results& a, const Results& b) {
  return {largest_difference(a.o, b.o), largest_difference(a.dq, b.dq),
          largest_difference(a.dk, b.dk), largest_difference(a.dv, b.dv)};
}

SageJudge::SageJudge(const AttentionCase& config) : config_(config), operands_(config) {
  const Problem& problem = operands_.problem();
  exact_ = reference_results(problem, operands_);
  Problem rounded = problem, unrounded = problem;
  rounded.quantization.int8_backward = unrounded.quantization.int8_backward = false;
  unrounded.quantization.values = ValueFormat::exact;
  format_error_ =
      difference(reference_results(unrounded, operands_), reference_results(rounded, operands_));
  reference::SequenceOperands selection(problem);
  Problem selected;
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    selected = selection.of(core::sequence_at(problem, index));  // rows of all sequences stay
  }
  selected.quantization = {};
  const PlainResults plain = plain_formula(selected, operands_.d_o(), operands_.d_lse());
  plain_error_ = difference({plain.o, plain.lse, plain.dq, plain.dk, plain.dv},
                            reference_results(selected, operands_));
}

double SageJudge::largest_norm() const {
  const std::vector<float> d_o = dense(operands_.d_o());
  const auto dim = static_cast<size_t>(config_.dv);
  double largest = 0;
  for (size_t row = 0; row < d_o.size(); row += dim) {
    double norm = 0;
    for (size_t d = row; d < row + dim; ++d) {
      norm += std::pow(double{exact_.o[d]} * double{d_o[d]}, 2);
    }
    largest = std::max(largest, std::sqrt(norm));
  }
  return largest;
}

std::vector<SageJudge::Output> SageJudge::outputs_of(const AttentionResults& got) const {
  const Problem& problem = operands_.problem();
  Int8Slack slack;
  if (problem.quantization.int8_backward) {
    slack = int8_slack(problem, operands_.d_o(), operands_.d_lse(),
                       {got.o.dense(), exact_.o, got.lse.dense(), exact_.lse});
  }
  const double delta =
      (half_ulp(config_.dtype) + 0x1p-24 * static_cast<double>(config_.dv)) * largest_norm();
  const double scale = std::abs(problem.scale);
  return {
      {"o", got.o.dense(), exact_.o, plain_error_.o, format_error_.o},
      {"dq", got.dq.dense(), exact_.dq, plain_error_.dq, format_error_.dq,
       delta * scale * largest_magnitude(dense(problem.k)), std::move(slack.dq)},
      {"dk", got.dk.dense(), exact_.dk, plain_error_.dk, format_error_.dk,
       delta * scale * largest_magnitude(dense(problem.q)), std::move(slack.dk)},
      {"dv", got.dv.dense(), exact_.dv, plain_error_.dv, format_error_.dv, 0, std::move(slack.dv)},
  };
}

double SageJudge::allowed(const Output& output) const {
  const double relative = 0x1p-23 * (1 + largest_magnitude(exact_.lse));
  const double size = largest_magnitude(output.right);
  return (config_.softcap > 0 ? 3 : 2) * output.plain + 4 * half_ulp(config_.dtype) * size +
         relative * size + 2 * output.format + output.delta;
}

double SageJudge::excess(const Output& output) const {
  const double everywhere = allowed(output);
  double largest = -everywhere;
  for (size_t i = 0; i < output.got.size(); ++i) {
    const double slack = output.slack.empty() ? 0 : output.slack[i];
    const double beyond =
        std::abs(double{output.got[i]} - double{output.right[i]}) - everywhere - slack;
    if (std::isnan(beyond)) return beyond;
    largest = std::max(largest, beyond);
  }
  return largest;
}

void SageJudge::expect_right(const AttentionResults& got) const {
  expect_outputs_right(outputs_of(got), got);
}

void SageJudge::expect_forward_right(const AttentionResults& got) const {
  expect_outputs_right({{"o", got.o.dense(), exact_.o, plain_error_.o, format_error_.o}}, got);
}

void SageJudge::expect_outputs_right(const std::vector<Output>& outputs,
                                     const AttentionResults& got) const {
  for (const Output& output : outputs) {
    EXPECT_LE(excess(output), 0) << output.name << ": largest value "
                                 << largest_magnitude(output.right)
                                 << ", error of the plain formula " << output.plain
                                 << ", of the value format " << output.format;
  }
  EXPECT_LE(largest_difference(got.lse.dense(), exact_.lse),
            2e-6 * (1 + largest_magnitude(exact_.lse)));
  EXPECT_TRUE(got.guards_intact()) << "wrote outside the outputs";
}

std::string SageJudge::wrong_gradients(const AttentionResults& got) const {
  std::string names;
  for (const Output& output : outputs_of(got)) {
    if (output.name != std::string("o") && excess(output) > 0) {
      names += names.empty() ? output.name : std::string(" ") + output.name;
    }
  }
  return names;
}

AttentionResults run_sage(const AttentionCase& config, const CaseOperands& operands) {
  AttentionResults results(config, operands);
  EXPECT_EQ(cpu::why_unsupported_sage(operands.problem()), "");
  cpu::forward_sage(operands.problem(), results.outputs());
  cpu::backward_sage(operands.problem(), results.tensors(operands));
  return results;
}

}  // namespace regard::testing
