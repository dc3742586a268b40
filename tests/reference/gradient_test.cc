// The reference's gradients against finite differences of its own forward.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/support/attention_case.h"

namespace regard::testing {
namespace {

AttentionCase base_case() {
  AttentionCase config;
  config.batch = 2;
  config.q_heads = 2;
  config.kv_heads = 1;
  config.sq = 4;
  config.sk = 6;
  config.d = 3;
  config.dv = 2;
  config.layout = Layout::sliced;
  config.has_d_lse = true;
  config.seed = 321;
  return config;
}

// sum(O * dO) + sum(LSE * dLSE): its gradient is what backward computes.
double loss(const CaseOperands& operands) {
  const Problem& problem = operands.problem();
  GuardedTensor o(DType::f32, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim},
                  Layout::bshd);
  GuardedLse lse(problem.q.batch, problem.q.heads, problem.q.seq);
  reference::forward(problem, {.o = o.view(), .lse = lse.view()});
  const std::vector<float> o_values = o.dense(), d_o = dense(operands.d_o());
  double sum = 0;
  for (size_t i = 0; i < o_values.size(); ++i) {
    sum += double{o_values[i]} * double{d_o[i]};
  }
  const LseView d_lse = operands.d_lse();
  for (int64_t batch = 0; batch < problem.q.batch; ++batch) {
    for (int64_t head = 0; head < problem.q.heads; ++head) {
      for (int64_t query = 0; query < problem.q.seq; ++query) {
        const int64_t at = batch * d_lse.stride_batch + head * d_lse.stride_head + query;
        const float value =
            lse.view()
                .data[batch * lse.view().stride_batch + head * lse.view().stride_head + query];
        sum += std::isfinite(value) ? double{value} * double{d_lse.data[at]} : 0.0;
      }
    }
  }
  return sum;
}

// Central differences of fourth order: at h = 2^-5 both h^4 and f32 rounding of O stay near 1e-5.
double numeric_gradient(const CaseOperands& operands, float& element) {
  constexpr float kStep = 0x1p-5f;
  const float value = element;
  const auto loss_at = [&](float offset) {
    element = value + offset;
    return loss(operands);
  };
  const double near = loss_at(kStep) - loss_at(-kStep);
  const double far = loss_at(2 * kStep) - loss_at(-2 * kStep);
  element = value;
  return (8 * near - far) / (12 * double{kStep});
}

void expect_gradient(const CaseOperands& operands, const char* name, const View& operand,
                     const std::vector<float>& gradient) {
  size_t next = 0;
  for (int64_t batch = 0; batch < operand.batch; ++batch) {
    for (int64_t seq = 0; seq < operand.seq; ++seq) {
      for (int64_t head = 0; head < operand.heads; ++head) {
        const int64_t row = core::row_offset(operand, batch, seq, head);
        for (int64_t d = 0; d < operand.dim; ++d) {
          float& element = static_cast<float*>(operand.data)[row + d];
          ASSERT_NEAR(gradient[next++], numeric_gradient(operands, element), 3e-4)
              << name << " at " << batch << ", " << seq << ", " << head << ", " << d;
        }
      }
    }
  }
}

class ReferenceGradient : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(ReferenceGradient, Backward_AgreesWithFiniteDifferences) {
  const CaseOperands operands(GetParam());
  const Problem& problem = operands.problem();
  const auto like = [](const View& view) {
    return GuardedTensor(DType::f32, {view.batch, view.seq, view.heads, view.dim}, Layout::bhsd);
  };
  const GuardedTensor dq = like(problem.q), dk = like(problem.k), dv = like(problem.v);
  reference::backward(problem, {.d_o = operands.d_o(),
                                .d_lse = operands.d_lse(),
                                .dq = dq.view(),
                                .dk = dk.view(),
                                .dv = dv.view()});
  expect_gradient(operands, "dq", problem.q, dq.dense());
  expect_gradient(operands, "dk", problem.k, dk.dense());
  expect_gradient(operands, "dv", problem.v, dv.dense());
}

std::vector<AttentionCase> gradient_cases() {
  std::vector<AttentionCase> cases(8, base_case());
  cases[1].causal = Causal::upper_left;
  cases[2].causal = Causal::lower_right;
  cases[2].sq = 6;  // rows without keys
  cases[2].sk = 4;
  cases[3].softcap = 1.5f;
  cases[4].dropout = 0.4f;
  cases[5].has_mask = cases[5].has_bias = cases[5].has_alibi = true;
  cases[6].window = {.left = 1, .right = 1};
  cases[7].batch = 1;
  cases[7].documents = {{1, 2}, {0, 1}, {3, 3}};
  cases[7].causal = Causal::lower_right;
  cases[7].softcap = 2.0f;
  cases[7].dropout = 0.2f;
  return cases;
}

std::string id_of(const ::testing::TestParamInfo<AttentionCase>& info) { return info.param.id(); }

INSTANTIATE_TEST_SUITE_P(Cases, ReferenceGradient, ::testing::ValuesIn(gradient_cases()), id_of);

}  // namespace
}  // namespace regard::testing
