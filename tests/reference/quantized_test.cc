// What Problem.quantization means in the reference: against exact attention over operands that were
// quantised by hand, and the int8 backward against the straight-through one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.h"
#include "core/int8_groups.h"
#include "reference/attention.h"
#include "tests/support/attention_case.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {
namespace {

struct Results {
  std::vector<float> o, lse, dq, dk, dv;
};

Results run(const Problem& problem, const CaseOperands& operands) {
  GuardedTensor o(DType::f32, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim},
                  Layout::bshd);
  GuardedTensor dq(DType::f32, shape_of(problem.q), Layout::bshd),
      dk(DType::f32, shape_of(problem.k), Layout::bshd),
      dv(DType::f32, shape_of(problem.v), Layout::bshd);
  GuardedLse lse(problem.q.batch, problem.q.heads, problem.q.seq);
  reference::forward(problem, {.o = o.view(), .lse = lse.view()});
  BackwardTensors tensors{.o = o.view(), .lse = lse.view(), .d_o = operands.d_o()};
  tensors.d_lse = operands.d_lse();
  tensors.dq = dq.view();
  tensors.dk = dk.view();
  tensors.dv = dv.view();
  reference::backward(problem, tensors);
  return {o.dense(), lse.dense(), dq.dense(), dk.dense(), dv.dense()};
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return ab / std::sqrt(aa * bb);
}

AttentionCase small_case() {
  AttentionCase config;
  config.q_heads = 2;
  config.sq = 40;
  config.sk = 70;
  config.d = 16;
  config.dv = 8;
  config.causal = Causal::lower_right;
  config.seed = 77;
  return config;
}

// max / 127, rounded up to 16 significant bits.
double scale_by_hand(float largest) {
  int exponent = 0;
  const double fraction = std::frexp(largest / 127.0f, &exponent);
  return std::ldexp(std::ceil(std::ldexp(fraction, 16)), exponent - 16);
}

// Rounds rows of a [1, S, H, D] tensor through int8, one scale for `block` rows of a head.
void round_by_hand(const View& view, int64_t block) {
  for (int64_t head = 0; head < view.heads; ++head) {
    for (int64_t begin = 0; begin < view.seq; begin += block) {
      const int64_t end = begin + block < view.seq ? begin + block : view.seq;
      const auto row = [&](int64_t seq) {
        return static_cast<float*>(view.data) + core::row_offset(view, 0, seq, head);
      };
      float largest = 0;
      for (int64_t seq = begin; seq < end; ++seq) {
        for (int64_t d = 0; d < view.dim; ++d) largest = std::max(largest, std::abs(row(seq)[d]));
      }
      for (int64_t seq = begin; seq < end; ++seq) {
        for (int64_t d = 0; d < view.dim; ++d) {
          const double scale = scale_by_hand(largest);
          row(seq)[d] = static_cast<float>(std::nearbyint(row(seq)[d] / scale) * scale);
        }
      }
    }
  }
}

TEST(QuantizedReference, WithoutSmoothing_IsExactAttentionOverRoundedOperands) {
  const CaseOperands given(small_case()), rounded(small_case());
  Problem problem = given.problem();
  problem.quantization = {
      .scores = ScoreFormat::int8, .groups = ScaleGroups::per_warp, .smooth_k = false};
  round_by_hand(rounded.problem().q, 32);
  round_by_hand(rounded.problem().k, 64);
  const Results got = run(problem, given), expected = run(rounded.problem(), rounded);
  for (size_t i = 0; i < got.o.size(); ++i) EXPECT_NEAR(got.o[i], expected.o[i], 2e-6);
  for (size_t i = 0; i < got.dq.size(); ++i) EXPECT_NEAR(got.dq[i], expected.dq[i], 2e-6);
  for (size_t i = 0; i < got.dk.size(); ++i) EXPECT_NEAR(got.dk[i], expected.dk[i], 2e-6);
}

// The gradient through the LSE needs the mean that smoothing took out of K: with one visible key
// the LSE is its score, and dQ is scale * k, mean included.
TEST(QuantizedReference, GradientThroughLse_KnowsTheMean) {
  AttentionCase config = small_case();
  config.sq = config.sk = 1;
  config.has_d_lse = true;
  config.change = [](Problem& p) { p.quantization.scores = ScoreFormat::int8; };
  const CaseOperands operands(config);
  const Problem& problem = operands.problem();
  const Results got = run(problem, operands);
  const std::vector<float> k = dense(problem.k);
  const LseView d_lse = operands.d_lse();
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t d = 0; d < 16; ++d) {
      const float slope = d_lse.data[head * d_lse.stride_head] * problem.scale;
      EXPECT_NEAR(got.dq[static_cast<size_t>(head * 16 + d)], slope * k[static_cast<size_t>(d)],
                  1e-5);
    }
  }
}

TEST(QuantizedReference, Int8Backward_StaysNearTheStraightThroughOne) {
  AttentionCase config = small_case();
  config.sq = config.sk = 200;
  config.d = config.dv = 32;
  config.has_d_lse = true;
  const CaseOperands operands(config);
  Problem problem = operands.problem();
  problem.quantization.scores = ScoreFormat::int8;
  const Results straight = run(problem, operands);
  problem.quantization.int8_backward = true;
  const Results int8 = run(problem, operands);
  EXPECT_EQ(int8.o, straight.o);
  EXPECT_GE(cosine(int8.dq, straight.dq), 0.99);
  EXPECT_GE(cosine(int8.dk, straight.dk), 0.99);
  EXPECT_GE(cosine(int8.dv, straight.dv), 0.99);
  EXPECT_NE(int8.dq, straight.dq);
  EXPECT_NE(int8.dk, straight.dk);
  EXPECT_NE(int8.dv, straight.dv);
}

// One query that sees one key: P = 1 and dO are multiples of their scales' steps.
TEST(QuantizedReference, Int8BackwardOfOnePair_GivesDoAsDv) {
  AttentionCase config = small_case();
  config.q_heads = config.sq = config.sk = 1;
  config.change = [](Problem& p) {
    p.quantization = {.scores = ScoreFormat::int8, .int8_backward = true};
  };
  const CaseOperands operands(config);
  const Results got = run(operands.problem(), operands);
  const std::vector<float> d_o = dense(operands.d_o());
  float largest = 0;
  for (const float x : d_o) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < d_o.size(); ++i) EXPECT_NEAR(got.dv[i], d_o[i], largest / 127 * 0.51);
  for (const float dq : got.dq) EXPECT_EQ(dq, 0.0f);
}

}  // namespace
}  // namespace regard::testing
