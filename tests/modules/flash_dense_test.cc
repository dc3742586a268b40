// flash_attn_func, its packed forms and gradients, against the reference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/modules/flash_fixture.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

struct DenseCase {
  std::string name;
  FlashOptions options;
  int64_t sq = 40, sk = 70, q_heads = 4, kv_heads = 2, d = 16, dv = 16;
};

void PrintTo(const DenseCase& config, std::ostream* out) { *out << config.name; }

const float kSlopes[] = {0.5f, 0.25f, 0.125f, 0.0625f};
const float kSinks[] = {0.5f, -1.0f, 2.0f, 0.0f};

std::vector<DenseCase> dense_cases() {
  FlashOptions causal{.is_causal = true};
  FlashOptions window{.window = {.left = 9, .right = 4}};
  FlashOptions alibi = causal, chunk = causal, sink = causal, dropout = causal, scaled = causal;
  alibi.alibi.slopes = kSlopes;
  chunk.attention_chunk = 16;
  sink.learnable_sink.logits = kSinks;
  dropout.dropout = {.probability = 0.2f, .seed = 7};
  scaled.softmax_scale = 0.1f;
  return {
      {.name = "full", .options = {}},
      {.name = "causal", .options = causal},
      {.name = "causal_more_queries", .options = causal, .sq = 70, .sk = 30},
      {.name = "one_query", .options = causal, .sq = 1, .q_heads = 8, .kv_heads = 1},
      {.name = "no_keys", .options = causal, .sq = 5, .sk = 0},
      {.name = "values_of_other_size", .options = causal, .d = 24, .dv = 40},
      {.name = "window", .options = window},
      {.name = "softcap", .options = {.softcap = 3.0f}},
      {.name = "alibi", .options = alibi},
      {.name = "chunk", .options = chunk},
      {.name = "sink", .options = sink},
      {.name = "dropout", .options = dropout},
      {.name = "scale", .options = scaled},
  };
}

class FlashDense : public ::testing::TestWithParam<DenseCase> {};

// The whole batch as one Problem: dropout counts sequences.
Problem problem_of(const GuardedTensor& q, const GuardedTensor& k, const GuardedTensor& v,
                   const FlashOptions& options) {
  Problem problem = sequence_problem(q, k, v, options);
  problem.dropout = options.dropout;
  return problem;
}

struct Gradients {
  Gradients(DType dtype, const View& q, const View& k, const View& v)
      : dq(dtype, shape_of(q), Layout::bshd),
        dk(dtype, shape_of(k), Layout::bshd),
        dv(dtype, shape_of(v), Layout::bshd) {}
  GuardedTensor dq, dk, dv;
};

TEST_P(FlashDense, EveryOption_AgreesWithReferenceForwardAndBackward) {
  const DenseCase& c = GetParam();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(core::name_of(dtype));
    const auto q = random_tensor(dtype, {2, c.sq, c.q_heads, c.d}, Layout::sliced, 1);
    const auto k = random_tensor(dtype, {2, c.sk, c.kv_heads, c.d}, Layout::bhsd, 2);
    const auto v = random_tensor(dtype, {2, c.sk, c.kv_heads, c.dv}, Layout::bshd, 3);
    const auto d_o = random_tensor(dtype, {2, c.sq, c.q_heads, c.dv}, Layout::bshd, 4);
    GuardedTensor o(dtype, shape_of(d_o.view()), Layout::sliced);
    GuardedLse lse(2, c.q_heads, c.sq);
    flash_attn_func(q.view(), k.view(), v.view(), c.options, {o.view(), lse.view()});
    const Problem problem = problem_of(q, k, v, c.options);
    const ExpectedForward expected(problem);
    expect_close(o.dense(), expected.o.dense(), dtype, "o");
    expect_close(lse.dense(), expected.lse.dense(), DType::f32, "lse");
    EXPECT_TRUE(o.guards_intact() && lse.guards_intact());

    Gradients got(DType::f32, q.view(), k.view(), v.view());
    Gradients right(DType::f32, q.view(), k.view(), v.view());
    BackwardTensors tensors{.o = o.view(), .lse = lse.view(), .d_o = d_o.view()};
    tensors.dq = got.dq.view();
    tensors.dk = got.dk.view();
    tensors.dv = got.dv.view();
    flash_attn_backward(q.view(), k.view(), v.view(), c.options, tensors);
    tensors.dq = right.dq.view();
    tensors.dk = right.dk.view();
    tensors.dv = right.dv.view();
    reference::backward(problem, tensors);
    // delta = dO . O comes from the rounded O.
    expect_close(got.dq.dense(), right.dq.dense(), dtype, "dq");
    expect_close(got.dk.dense(), right.dk.dense(), dtype, "dk");
    expect_close(got.dv.dense(), right.dv.dense(), dtype, "dv");
  }
}

INSTANTIATE_TEST_SUITE_P(Options, FlashDense, ::testing::ValuesIn(dense_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

// Packed operands are strides: the same bits as separate ones.
class FlashPacked : public ::testing::Test {
 protected:
  static constexpr Shape kShape{2, 37, 2, 24};
  FlashPacked()
      : q_(random_tensor(DType::f32, kShape, Layout::bshd, 11)),
        k_(random_tensor(DType::f32, kShape, Layout::bshd, 12)),
        v_(random_tensor(DType::f32, kShape, Layout::bshd, 13)),
        d_o_(random_tensor(DType::f32, kShape, Layout::bshd, 14)),
        o_(DType::f32, kShape, Layout::bshd),
        right_(DType::f32, q_.view(), k_.view(), v_.view()),
        lse_(2, 2, 37) {
    flash_attn_func(q_.view(), k_.view(), v_.view(), options_, {o_.view(), lse_.view()});
    BackwardTensors tensors = this->tensors();
    tensors.dq = right_.dq.view();
    tensors.dk = right_.dk.view();
    tensors.dv = right_.dv.view();
    flash_attn_backward(q_.view(), k_.view(), v_.view(), options_, tensors);
  }
  BackwardTensors tensors() const {
    return {.o = o_.view(), .lse = lse_.view(), .d_o = d_o_.view()};
  }

  FlashOptions options_{.is_causal = true};
  GuardedTensor q_, k_, v_, d_o_, o_;
  Gradients right_;
  GuardedLse lse_;
};

TEST_F(FlashPacked, Qkv_GivesTheSameBitsAsSeparateOperands) {
  PackedTensor qkv(DType::f32, kShape, 3), dqkv(DType::f32, kShape, 3);
  qkv.fill_part(0, q_.dense());
  qkv.fill_part(1, k_.dense());
  qkv.fill_part(2, v_.dense());
  GuardedTensor o(DType::f32, kShape, Layout::bhsd);
  flash_attn_qkvpacked_func(qkv.view(), options_, {o.view(), {}});
  EXPECT_EQ(o.dense(), o_.dense());
  flash_attn_qkvpacked_backward(qkv.view(), options_, tensors(), dqkv.view());
  EXPECT_EQ(dense(part_of(dqkv.view(), 0)), right_.dq.dense());
  EXPECT_EQ(dense(part_of(dqkv.view(), 1)), right_.dk.dense());
  EXPECT_EQ(dense(part_of(dqkv.view(), 2)), right_.dv.dense());
}

TEST_F(FlashPacked, Kv_GivesTheSameBitsAsSeparateOperands) {
  PackedTensor kv(DType::f32, kShape, 2), dkv(DType::f32, kShape, 2);
  kv.fill_part(0, k_.dense());
  kv.fill_part(1, v_.dense());
  GuardedTensor o(DType::f32, kShape, Layout::bshd), dq(DType::f32, kShape, Layout::bshd);
  flash_attn_kvpacked_func(q_.view(), kv.view(), options_, {o.view(), {}});
  EXPECT_EQ(o.dense(), o_.dense());
  BackwardTensors with_dq = tensors();
  with_dq.dq = dq.view();
  flash_attn_kvpacked_backward(q_.view(), kv.view(), options_, with_dq, dkv.view());
  EXPECT_EQ(dq.dense(), right_.dq.dense());
  EXPECT_EQ(dense(part_of(dkv.view(), 0)), right_.dk.dense());
  EXPECT_EQ(dense(part_of(dkv.view(), 1)), right_.dv.dense());
}

TEST_F(FlashPacked, QkvByHeads_SplitsUnequalNumbers) {
  // 4 query heads, 2 of keys, 2 of values.
  const auto qkv = random_tensor(DType::f32, {2, 37, 8, 24}, Layout::sliced, 20);
  const auto heads = [&](int64_t first, int64_t count) {
    View view = qkv.view();
    view.heads = count;
    view.data = static_cast<float*>(view.data) + first * view.stride_head;
    return view;
  };
  GuardedTensor got(DType::f32, {2, 37, 4, 24}, Layout::bshd),
      right = {DType::f32, {2, 37, 4, 24}, Layout::bshd};
  flash_attn_qkvpacked_func(qkv.view(), 4, options_, {got.view(), {}});
  flash_attn_func(heads(0, 4), heads(4, 2), heads(6, 2), options_, {right.view(), {}});
  EXPECT_EQ(got.dense(), right.dense());
  EXPECT_THAT(refusal_of([&] {
                flash_attn_qkvpacked_func(qkv.view(), 5, options_, {got.view(), {}});
              }),
              HasSubstr("num_heads_q 5 of 8 heads"));
}

TEST_F(FlashPacked, WrongNumberOfParts_IsRefused) {
  const PackedTensor two(DType::f32, kShape, 2);
  EXPECT_THAT(refusal_of([&] {
                flash_attn_qkvpacked_func(two.view(), options_, {o_.view(), {}});
              }),
              HasSubstr("qkv has 2 parts: must be 3"));
  EXPECT_THAT(refusal_of([&] { part_of(two.view(), 2); }), HasSubstr("part 2 of a tensor of 2"));
}

// Scores are q k^T + qv v^T with the scale of the joined head.
TEST(FlashQv, ScoresOfBothProducts_AreAdded) {
  constexpr int64_t kD = 8, kDv = 24;
  const auto q = random_tensor(DType::f32, {2, 3, 4, kD}, Layout::bshd, 1);
  const auto qv = random_tensor(DType::f32, {2, 3, 4, kDv}, Layout::sliced, 2);
  const auto k = random_tensor(DType::f32, {2, 29, 1, kD}, Layout::bshd, 3);
  const auto v = random_tensor(DType::f32, {2, 29, 1, kDv}, Layout::bhsd, 4);
  FlashOptions options{.is_causal = true};
  options.qv = qv.view();
  GuardedTensor o(DType::f32, {2, 3, 4, kDv}, Layout::bshd);
  GuardedLse lse(2, 4, 3);
  flash_attn_func(q.view(), k.view(), v.view(), options, {o.view(), lse.view()});

  const auto joined = [](const View& a, const View& b) {
    GuardedTensor both(DType::f32, {a.batch, a.seq, a.heads, a.dim + b.dim}, Layout::bshd);
    const std::vector<float> left = dense(a), right = dense(b);
    std::vector<float> values;
    for (int64_t row = 0; row < a.batch * a.seq * a.heads; ++row) {
      values.insert(values.end(), left.begin() + row * a.dim, left.begin() + (row + 1) * a.dim);
      values.insert(values.end(), right.begin() + row * b.dim, right.begin() + (row + 1) * b.dim);
    }
    both.fill(values);
    return both;
  };
  FlashOptions plain{.is_causal = true};
  const ExpectedForward expected(
      sequence_problem(joined(q.view(), qv.view()), joined(k.view(), v.view()), v, plain));
  expect_close(o.dense(), expected.o.dense(), DType::f32, "o");
  expect_close(lse.dense(), expected.lse.dense(), DType::f32, "lse");
  EXPECT_THAT(refusal_of([&] {
                flash_attn_backward(q.view(), k.view(), v.view(), options,
                                    {.o = o.view(), .lse = lse.view(), .d_o = o.view()});
              }),
              HasSubstr("qv has no backward"));
}

TEST(FlashQv, HeadsOfMla_AreServed) {  // D 64 with Dv 512: joined heads of 576
  const auto q = random_tensor(DType::bf16, {1, 40, 2, 64}, Layout::bshd, 1);
  const auto qv = random_tensor(DType::bf16, {1, 40, 2, 512}, Layout::bshd, 2);
  const auto k = random_tensor(DType::bf16, {1, 70, 1, 64}, Layout::bshd, 3);
  const auto v = random_tensor(DType::bf16, {1, 70, 1, 512}, Layout::bshd, 4);
  FlashOptions options{.is_causal = true};
  options.qv = qv.view();
  GuardedTensor o(DType::bf16, {1, 40, 2, 512}, Layout::bshd);
  flash_attn_func(q.view(), k.view(), v.view(), options, {o.view(), {}});
  for (const float value : o.dense()) {
    ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(FlashF8, DescaleFactors_MultiplyTheOperands) {
  const auto q = random_tensor(DType::f8_e4m3, {2, 5, 4, 32}, Layout::bshd, 1);
  const auto k = random_tensor(DType::f8_e4m3, {2, 60, 2, 32}, Layout::bshd, 2);
  const auto v = random_tensor(DType::f8_e4m3, {2, 60, 2, 32}, Layout::sliced, 3);
  const float q_factors[] = {0.5f, 1.5f, 2.0f, 0.25f}, k_factors[] = {1.25f, 0.75f, 0.5f, 1.0f},
              v_factors[] = {3.0f, 0.5f, 1.5f, 2.0f};
  FlashOptions options{.is_causal = true};
  options.descale = {.q = q_factors, .k = k_factors, .v = v_factors, .stride_batch = 2};
  GuardedTensor o(DType::bf16, {2, 5, 4, 32}, Layout::bshd);
  GuardedLse lse(2, 4, 5);
  flash_attn_func(q.view(), k.view(), v.view(), options, {o.view(), lse.view()});
  const auto scaled = [](const View& view, const float* factors) {
    std::vector<float> values = dense(view);
    const int64_t group = view.heads / 2, row = view.heads * view.dim;
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      values[i] *= factors[at / (view.seq * row) * 2 + at % row / view.dim / group];
    }
    GuardedTensor tensor(DType::f32, shape_of(view), Layout::bshd);
    tensor.fill(values);
    return tensor;
  };
  const GuardedTensor q32 = scaled(q.view(), q_factors), k32 = scaled(k.view(), k_factors),
                      v32 = scaled(v.view(), v_factors);
  const ExpectedForward expected(sequence_problem(q32, k32, v32, {.is_causal = true}));
  expect_close(o.dense(), expected.o.dense(), DType::bf16, "o");
  expect_close(lse.dense(), expected.lse.dense(), DType::f32, "lse");
}

TEST(FlashErrors, Arguments_AreNamedWithTheirValues) {
  const auto q = random_tensor(DType::f32, {1, 3, 2, 8}, Layout::bshd, 1);
  const auto qv = random_tensor(DType::f32, {1, 3, 2, 16}, Layout::bshd, 1);
  GuardedTensor o(DType::f32, {1, 3, 2, 8}, Layout::bshd);
  const auto refusal = [&](const FlashOptions& options) {
    return refusal_of([&] {
      flash_attn_func(q.view(), q.view(), q.view(), options, {o.view(), {}});
    });
  };
  FlashOptions chunk, both, wrong_qv;
  chunk.attention_chunk = -3;
  both.softcap = 2.0f;
  both.dropout.probability = 0.5f;
  wrong_qv.qv = qv.view();
  EXPECT_THAT(refusal(chunk), HasSubstr("attention_chunk -3"));
  EXPECT_THAT(refusal(both), HasSubstr("softcap"));
  EXPECT_THAT(refusal(wrong_qv), HasSubstr("qv has the shape [1, 3, 2, 16]"));
  EXPECT_EQ(refusal({}), "");
}

}  // namespace
}  // namespace regard::testing
