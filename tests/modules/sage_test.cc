// The sage module against exact attention, on operands like those of real models: K with a bias in
// some channels, queries and keys that agree along a few directions.
#include "regard/sage_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "regard/attention.h"
#include "regard/error.h"

namespace regard {
namespace {

using ::testing::HasSubstr;

struct Tensor {
  std::vector<float> values;
  View view;
  Tensor(int64_t batch, int64_t seq, int64_t heads, int64_t dim)
      : values(static_cast<size_t>(batch * seq * heads * dim)),
        view{.data = values.data(),
             .dtype = DType::f32,
             .batch = batch,
             .seq = seq,
             .heads = heads,
             .dim = dim,
             .stride_batch = seq * heads * dim,
             .stride_seq = heads * dim,
             .stride_head = dim} {}
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  void randomise(float size, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, size);
    for (float& value : values) value = normal(random);
  }
  float& at(int64_t seq, int64_t head, int64_t d) {
    return values[static_cast<size_t>(seq * view.stride_seq + head * view.stride_head + d)];
  }
};

// One packed row of documents with all its results.
struct Call {
  Tensor q, k, v, d_o, o, dq, dk, dv;
  std::vector<float> lse;
  std::vector<int32_t> offsets;

  Call(const std::vector<int32_t>& lengths, int64_t q_heads, int64_t kv_heads, int64_t dim)
      : Call(total(lengths), lengths, q_heads, kv_heads, dim) {}

  Documents documents() const {
    return {offsets.data(), offsets.data(), static_cast<int32_t>(offsets.size() - 1)};
  }
  ForwardOutputs outputs() { return {o.view, lse_view()}; }
  LseView lse_view() { return {lse.data(), q.view.heads * q.view.seq, q.view.seq}; }
  BackwardTensors tensors() {
    BackwardTensors tensors{.o = o.view, .lse = lse_view(), .d_o = d_o.view};
    tensors.dq = dq.view;
    tensors.dk = dk.view;
    tensors.dv = dv.view;
    return tensors;
  }
  void run_sage(const SageOptions& options) {
    sageattn_varlen(q.view, k.view, v.view, documents(), options, outputs());
    sageattn_varlen_backward(q.view, k.view, v.view, documents(), options, tensors());
  }
  void run_exact() {
    const Problem problem = lower(Module::flash_attention_2, q.view, k.view, v.view,
                                  {.is_causal = true, .documents = documents()});
    attention_forward(problem, outputs(), Backend::reference);
    attention_backward(problem, tensors(), Backend::reference);
  }

 private:
  Call(int64_t tokens, const std::vector<int32_t>& lengths, int64_t q_heads, int64_t kv_heads,
       int64_t dim)
      : q(1, tokens, q_heads, dim),
        k(1, tokens, kv_heads, dim),
        v(1, tokens, kv_heads, dim),
        d_o(1, tokens, q_heads, dim),
        o(1, tokens, q_heads, dim),
        dq(1, tokens, q_heads, dim),
        dk(1, tokens, kv_heads, dim),
        dv(1, tokens, kv_heads, dim),
        lse(static_cast<size_t>(tokens * q_heads)),
        offsets{0} {
    for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
    q.randomise(1.0f, 1);
    k.randomise(1.0f, 2);
    v.randomise(1.0f, 3);
    d_o.randomise(1.0f, 4);
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t head = 0; head < kv_heads; ++head) {
        for (int64_t d = 0; d < dim; d += 7) {  // channel bias, several times the spread
          k.at(token, head, d) += d % 2 == 0 ? 6.0f : -4.0f;
        }
      }
    }
  }
  static int64_t total(const std::vector<int32_t>& lengths) {
    int64_t sum = 0;
    for (const int32_t length : lengths) sum += length;
    return sum;
  }
};

double cosine(const Tensor& a, const Tensor& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    ab += double{a.values[i]} * double{b.values[i]};
    aa += double{a.values[i]} * double{a.values[i]};
    bb += double{b.values[i]} * double{b.values[i]};
  }
  return ab / std::sqrt(aa * bb);
}

double relative_l1(const Tensor& got, const Tensor& exact) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.values.size(); ++i) {
    difference += std::abs(double{got.values[i]} - double{exact.values[i]});
    size += std::abs(double{exact.values[i]});
  }
  return difference / size;
}

bool is_finite(const Tensor& tensor) {
  for (const float value : tensor.values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

void expect_finite(const Call& call) {
  EXPECT_TRUE(is_finite(call.o) && is_finite(call.dq) && is_finite(call.dk) && is_finite(call.dv));
}

// The figures of docs/modules/sage.md, in the test's report.
void record(const Call& sage, const Call& exact) {
  const auto record_value = [](const char* name, double value) {
    ::testing::Test::RecordProperty(name, std::to_string(value));
  };
  record_value("cosine_o", cosine(sage.o, exact.o));
  record_value("l1_o", relative_l1(sage.o, exact.o));
  record_value("cosine_dq", cosine(sage.dq, exact.dq));
  record_value("cosine_dk", cosine(sage.dk, exact.dk));
  record_value("cosine_dv", cosine(sage.dv, exact.dv));
}

class SageAccuracy : public ::testing::TestWithParam<ScaleGroups> {};

// The bars of SageAttention's own measure: cosine and relative L1 over all elements.
TEST_P(SageAccuracy, OutputAndGradients_AreCloseToExactAttention) {
  Call sage({300, 1, 211}, 6, 2, 64), exact({300, 1, 211}, 6, 2, 64);
  sage.run_sage({.is_causal = true, .qk_quant_gran = GetParam()});
  exact.run_exact();
  EXPECT_GE(cosine(sage.o, exact.o), 0.999);
  EXPECT_LE(relative_l1(sage.o, exact.o), 0.02);
  EXPECT_GE(cosine(sage.dq, exact.dq), 0.99);
  EXPECT_GE(cosine(sage.dk, exact.dk), 0.99);
  EXPECT_GE(cosine(sage.dv, exact.dv), 0.99);
  for (size_t i = 0; i < sage.lse.size(); ++i) {  // the correction by q . mean(K) is in it
    EXPECT_NEAR(sage.lse[i], exact.lse[i], 0.05) << "row " << i;
  }
  record(sage, exact);
}

std::string name_of(const ::testing::TestParamInfo<ScaleGroups>& test_info) {
  const char* names[] = {"per_block", "per_warp", "per_thread"};
  return names[static_cast<int>(test_info.param)];
}

INSTANTIATE_TEST_SUITE_P(Groups, SageAccuracy,
                         ::testing::Values(ScaleGroups::per_block, ScaleGroups::per_warp,
                                           ScaleGroups::per_thread),
                         name_of);

// SageBwd: the same forward, gradients within the bar, and others than the straight-through ones.
TEST_P(SageAccuracy, Int8Backward_IsCloseToExactAttention) {
  Call sage({300, 1, 211}, 6, 2, 64), exact({300, 1, 211}, 6, 2, 64),
      straight({300, 1, 211}, 6, 2, 64);
  const SageOptions options{.is_causal = true, .qk_quant_gran = GetParam(), .int8_backward = true};
  sage.run_sage(options);
  straight.run_sage({.is_causal = true, .qk_quant_gran = GetParam()});
  exact.run_exact();
  record(sage, exact);
  EXPECT_EQ(sage.o.values, straight.o.values);
  EXPECT_EQ(sage.lse, straight.lse);
  EXPECT_GE(cosine(sage.dq, exact.dq), 0.99);
  EXPECT_GE(cosine(sage.dk, exact.dk), 0.99);
  EXPECT_GE(cosine(sage.dv, exact.dv), 0.99);
  EXPECT_NE(sage.dq.values, straight.dq.values);
  EXPECT_NE(sage.dk.values, straight.dk.values);
  EXPECT_NE(sage.dv.values, straight.dv.values);
}

TEST(Sage, F8Values_StayNearExactAttention) {
  Call sage({300, 1, 211}, 6, 2, 64), exact({300, 1, 211}, 6, 2, 64);
  sage.run_sage({.is_causal = true, .pv_format = ValueFormat::f8_e4m3});
  exact.run_exact();
  record(sage, exact);
  EXPECT_GE(cosine(sage.o, exact.o), 0.998);
  EXPECT_GE(cosine(sage.dq, exact.dq), 0.99);
  EXPECT_GE(cosine(sage.dk, exact.dk), 0.99);
}

// What smoothing is for: with the channel bias in K the scores are coarse without it.
TEST(Sage, WithoutSmoothing_ChannelBiasCostsAccuracy) {
  Call rough({300, 1, 211}, 6, 2, 64), exact({300, 1, 211}, 6, 2, 64);
  rough.run_sage({.is_causal = true, .smooth_k = false});
  exact.run_exact();
  record(rough, exact);
  EXPECT_GT(relative_l1(rough.o, exact.o), 0.015);
}

// A constant added to all keys changes no weight. With smoothing it changes next to nothing, also
// when it is large; without, the int8 range is spent on it.
TEST(Sage, SmoothedKeys_DoNotSeeAConstantAddedToAllKeys) {
  Call plain({200}, 2, 1, 32), moved({200}, 2, 1, 32), rough({200}, 2, 1, 32);
  for (Call* call : {&moved, &rough}) {
    for (float& value : call->k.values) value += 64.0f;
  }
  plain.run_sage({.is_causal = true});
  moved.run_sage({.is_causal = true});
  rough.run_sage({.is_causal = true, .smooth_k = false});
  EXPECT_LE(relative_l1(moved.o, plain.o), 2e-3);
  EXPECT_GE(cosine(moved.dq, plain.dq), 0.9999);
  EXPECT_GE(cosine(moved.dk, plain.dk), 0.9999);
  EXPECT_GT(relative_l1(rough.o, plain.o), 0.1);
}

TEST(Sage, ZeroOperands_StayFinite) {
  Call call({130, 1}, 2, 1, 32);
  for (Tensor* tensor : {&call.q, &call.k, &call.v}) {
    std::fill(tensor->values.begin(), tensor->values.end(), 0.0f);
  }
  for (const ValueFormat format : {ValueFormat::f16, ValueFormat::f8_e4m3}) {
    for (const bool int8_backward : {false, true}) {
      call.run_sage({.is_causal = true, .pv_format = format, .int8_backward = int8_backward});
      expect_finite(call);
      EXPECT_NEAR(call.lse[129], std::log(130.0), 1e-5);
    }
  }
}

TEST(Sage, ZeroBlocksInsideARow_StayFinite) {
  Call call({256}, 1, 1, 32);
  for (int64_t token = 64; token < 192; ++token) {
    for (int64_t d = 0; d < 32; ++d) call.k.at(token, 0, d) = call.q.at(token, 0, d) = 0.0f;
  }
  for (const bool smooth : {false, true}) {
    for (const bool int8_backward : {false, true}) {
      call.run_sage({.is_causal = true, .smooth_k = smooth, .int8_backward = int8_backward});
      expect_finite(call);
    }
  }
}

TEST(Sage, OneTokenDocuments_GiveTheirValue) {
  Call call({1, 1, 1, 1, 1}, 2, 2, 16);
  call.run_sage({.is_causal = true, .pv_format = ValueFormat::exact});
  for (size_t i = 0; i < call.o.values.size(); ++i) {
    EXPECT_FLOAT_EQ(call.o.values[i], call.v.values[i]);
    EXPECT_NEAR(call.dq.values[i], 0.0f, 1e-5f);  // one key: nothing to choose from
    EXPECT_NEAR(call.dk.values[i], 0.0f, 1e-5f);
  }
}

TEST(Sage, LargeOutliers_StayFinite) {
  Call call({200}, 2, 1, 32);
  call.q.at(17, 0, 3) = 3e4f;
  call.k.at(40, 0, 5) = -2e5f;
  call.v.at(90, 0, 7) = 1e6f;  // above f16's 65504
  for (const ValueFormat format : {ValueFormat::f16, ValueFormat::f8_e4m3}) {
    for (const bool int8_backward : {false, true}) {
      call.run_sage({.is_causal = true, .pv_format = format, .int8_backward = int8_backward});
      expect_finite(call);
    }
  }
}

TEST(Sage, PackedDocuments_AreThoseOfSeparateCalls) {
  for (const bool int8_backward : {false, true}) {
    Call packed({70, 33}, 4, 2, 32), first({70}, 4, 2, 32);
    for (auto [from, to] : {std::pair{&packed.q, &first.q}, std::pair{&packed.k, &first.k},
                            std::pair{&packed.v, &first.v}, std::pair{&packed.d_o, &first.d_o}}) {
      std::copy_n(from->values.begin(), to->values.size(), to->values.begin());
    }
    packed.run_sage({.is_causal = true, .int8_backward = int8_backward});
    first.run_sage({.is_causal = true, .int8_backward = int8_backward});
    for (size_t i = 0; i < first.o.values.size(); ++i) {
      ASSERT_EQ(first.o.values[i], packed.o.values[i]);
      ASSERT_EQ(first.dq.values[i], packed.dq.values[i]);
    }
  }
}

TEST(Sage, DenseCall_IsTheVarlenCallOfOneSequence) {
  Call dense({90}, 4, 2, 32), varlen({90}, 4, 2, 32);
  const SageOptions options{.is_causal = true, .int8_backward = true};
  sageattn(dense.q.view, dense.k.view, dense.v.view, options, dense.outputs());
  sageattn_backward(dense.q.view, dense.k.view, dense.v.view, options, dense.tensors());
  varlen.run_sage(options);
  EXPECT_EQ(dense.o.values, varlen.o.values);
  EXPECT_EQ(dense.dq.values, varlen.dq.values);
  EXPECT_EQ(dense.dk.values, varlen.dk.values);
  EXPECT_EQ(dense.dv.values, varlen.dv.values);
}

// The last query sees the last key: decoding gives the row that the whole causal call gives, up to
// the quantisation of Q.
TEST(Sage, ShorterQueries_AreAlignedToTheLastKey) {
  Call whole({64}, 2, 1, 32);
  whole.run_sage({.is_causal = true});
  Call last({64}, 2, 1, 32);
  View q = last.q.view;
  q.seq = 1;
  q.data = &last.q.at(63, 0, 0);
  ForwardOutputs outputs = last.outputs();
  outputs.o.seq = 1;
  outputs.lse = {};
  sageattn(q, last.k.view, last.v.view, {.is_causal = true}, outputs);
  for (int64_t d = 0; d < 64; ++d) {
    EXPECT_NEAR(last.o.values[static_cast<size_t>(d)], whole.o.at(63, d / 32, d % 32), 0.02);
  }
}

TEST(Sage, WhatItCannotServe_IsRefused) {
  Call call({8}, 2, 1, 16);
  EXPECT_THROW(sageattn_varlen(call.q.view, call.k.view, call.v.view, {}, {}, call.outputs()),
               Error);
  View wide_q = call.q.view, wide_k = call.k.view;
  wide_q.dim = wide_k.dim = 257;
  try {
    sageattn(wide_q, wide_k, call.v.view, {}, call.outputs());
    ADD_FAILURE() << "a head size of 257 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("257"));
  }
  // The exact kernels do not take int8 scores, nor the int8 ones exact scores.
  Problem problem = lower(Module::sage, call.q.view, call.k.view, call.v.view, {});
  EXPECT_THAT(why_unsupported(Backend::cpu_tiled, problem), HasSubstr("int8 scores"));
  EXPECT_EQ(why_unsupported(Backend::cpu_sage, problem), "");
  problem.quantization = {};
  EXPECT_THAT(why_unsupported(Backend::cpu_sage, problem), HasSubstr("exact scores"));
}

}  // namespace
}  // namespace regard
