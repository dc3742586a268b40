// The reference's gradients against finite differences of its own forward.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/program.h"
#include "tests/support/attention_case.h"
#include "tests/support/attention_results.h"

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

// `elements` f32 numbers side by side.
void expect_flat_gradient(const CaseOperands& operands, const char* name, const float* elements,
                          const std::vector<float>& gradient) {
  for (size_t i = 0; i < gradient.size(); ++i) {
    float& element = const_cast<float*>(elements)[i];
    ASSERT_NEAR(gradient[i], numeric_gradient(operands, element), 3e-4) << name << " at " << i;
  }
}

// The bias as a view over its distinct elements, in the order of AttentionResults::d_bias.
View bias_view(const Problem& problem, const View& d_bias) {
  const BiasTensor& bias = problem.bias;
  View view = d_bias;
  view.data = const_cast<void*>(bias.data);
  view.stride_batch = bias.stride_batch;
  view.stride_seq = bias.stride_q;
  view.stride_head = bias.stride_head;
  return view;
}

class ReferenceGradient : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(ReferenceGradient, Backward_AgreesWithFiniteDifferences) {
  const CaseOperands operands(GetParam());
  const Problem& problem = operands.problem();
  AttentionResults results(operands);
  reference::backward(problem, results.tensors(operands));
  EXPECT_TRUE(results.guards_intact());
  expect_gradient(operands, "dq", problem.q, results.dq.dense());
  expect_gradient(operands, "dk", problem.k, results.dk.dense());
  expect_gradient(operands, "dv", problem.v, results.dv.dense());
  expect_flat_gradient(operands, "d_slopes", problem.alibi.slopes, results.d_slopes.dense());
  expect_flat_gradient(operands, "d_sink", problem.sink.logits, results.d_sink.dense());
  expect_gradient(operands, "d_bias", bias_view(problem, results.d_bias.view()),
                  results.d_bias.dense());
}

// A score program with two tensors, one of which a pair may read twice, and a mask program.
TEST(ReferenceGradient, ScoreProgram_AgreesWithFiniteDifferences) {
  const Program score =
      score_program("tanh(score * scales[h]) * 2 + table[min(abs(q - kv), 3)] * table[kv % 4]",
                    {{"scales"}, {"table"}});
  const Program mask = mask_program("(q + kv) % 5 != 0");
  std::vector<float> scales = {0.7f, -1.1f}, table = {0.3f, -0.2f, 0.9f, 1.4f};
  const ProgramTensor tensors[] = {
      {.data = scales.data(), .rank = 1, .shape = {2}, .stride = {1}},
      {.data = table.data(), .rank = 1, .shape = {4}, .stride = {1}},
  };
  AttentionCase config = base_case();
  config.softcap = 3.0f;
  config.has_sink = true;
  config.change = [&](Problem& problem) {
    problem.score_program = {.program = &score, .tensors = tensors, .num_tensors = 2};
    problem.mask_program = {.program = &mask};
  };
  const CaseOperands operands(config);
  const Problem& problem = operands.problem();
  AttentionResults results(operands);
  std::vector<float> d_scales(2, std::nanf("")), d_table(4, std::nanf(""));
  float* const d_tensors[] = {d_scales.data(), d_table.data()};
  BackwardTensors backward = results.tensors(operands);
  backward.d_tensors = d_tensors;
  reference::backward(problem, backward);
  expect_gradient(operands, "dq", problem.q, results.dq.dense());
  expect_gradient(operands, "dk", problem.k, results.dk.dense());
  expect_gradient(operands, "dv", problem.v, results.dv.dense());
  expect_flat_gradient(operands, "scales", scales.data(), d_scales);
  expect_flat_gradient(operands, "table", table.data(), d_table);
}

std::vector<AttentionCase> mask_cases() {
  std::vector<AttentionCase> cases(9, base_case());
  cases[1].causal = Causal::upper_left;
  cases[2].causal = Causal::lower_right;
  cases[2].sq = 6;  // rows without keys
  cases[2].sk = 4;
  cases[3].window = {.left = 1, .right = 1};
  cases[4].has_mask = true;
  cases[5].chunks = {.size = 3, .shift = 1, .first_shifted_head = 1};
  cases[6].block_q = cases[6].block_k = 2;
  cases[7].batch = 1;
  cases[7].documents = {{1, 2}, {0, 1}, {3, 3}};
  cases[7].causal = Causal::lower_right;
  cases[8] = cases[7];  // with lengths: 4 of 7 queries and 6 of 9 keys belong to documents
  cases[8].unowned = 1;
  cases[8].sq += 3;
  cases[8].sk += 3;
  return cases;
}

// Every mask with everything that has a gradient; then single terms.
std::vector<AttentionCase> gradient_cases() {
  std::vector<AttentionCase> cases = mask_cases();
  for (AttentionCase config : mask_cases()) {
    config.has_sink = config.has_bias = config.has_alibi = config.asks_score_gradients = true;
    config.broadcast = static_cast<Broadcast>(cases.size() % 4);
    config.softcap = cases.size() % 2 == 0 ? 2.0f : 0.0f;
    config.dropout = 0.2f;
    config.seed += static_cast<uint32_t>(cases.size());
    cases.push_back(config);
  }
  for (const Broadcast broadcast : {Broadcast::full, Broadcast::over_batch_and_head,
                                    Broadcast::over_head_and_query, Broadcast::over_key}) {
    AttentionCase config = base_case();
    config.has_bias = config.has_alibi = config.asks_score_gradients = true;
    config.broadcast = broadcast;
    cases.push_back(config);
  }
  AttentionCase sink = base_case();
  sink.has_sink = sink.asks_score_gradients = true;
  cases.push_back(sink);
  sink.causal = Causal::lower_right;
  sink.sq = 6;
  sink.sk = 2;  // rows that see the sink alone
  cases.push_back(sink);
  return cases;
}

std::string id_of(const ::testing::TestParamInfo<AttentionCase>& info) { return info.param.id(); }

INSTANTIATE_TEST_SUITE_P(Cases, ReferenceGradient, ::testing::ValuesIn(gradient_cases()), id_of);

}  // namespace
}  // namespace regard::testing
