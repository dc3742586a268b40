// Merging parts: keys cut in two against all of them at once, forward and backward.
#include "regard/merge_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/attention.h"
#include "regard/error.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kBatch = 2, kSq = 5, kSk = 40, kHeads = 4, kKvHeads = 2, kD = 16, kDv = 24;

GuardedTensor random_tensor(DType dtype, const Shape& shape, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  for (float& value : values) {
    value = normal(engine);
  }
  GuardedTensor tensor(dtype, shape, Layout::sliced);
  tensor.fill(values);
  return tensor;
}

// Keys [begin, end) of a view.
View keys_of(View view, int64_t begin, int64_t end) {
  view.data = static_cast<char*>(view.data) + begin * view.stride_seq * core::bytes_of(view.dtype);
  view.seq = end - begin;
  return view;
}

void expect_close(const std::vector<float>& got, const std::vector<float>& expected, double ulp) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference =
        got[i] == expected[i] ? 0.0 : std::abs(double{got[i]} - double{expected[i]});
    ASSERT_LE(difference, (1 + std::abs(double{expected[i]})) * (ulp + 2e-6)) << "at " << i;
    ASSERT_FALSE(std::isnan(got[i])) << "at " << i;
  }
}

// A softmax over kSk keys, of which a mask hides some: from row 0 all, from row 1 the first half,
// from row 2 the second.
class CutKeys : public ::testing::Test {
 protected:
  CutKeys()
      : q_(random_tensor(DType::f32, {kBatch, kSq, kHeads, kD}, 1)),
        k_(random_tensor(DType::f32, {kBatch, kSk, kKvHeads, kD}, 2)),
        v_(random_tensor(DType::f32, {kBatch, kSk, kKvHeads, kDv}, 3)),
        mask_(static_cast<size_t>(kSq * kSk), 1) {
    for (int64_t key = 0; key < kSk; ++key) {
      mask_[static_cast<size_t>(key)] = 0;
      mask_[static_cast<size_t>(kSk + key)] = key >= kSk / 2;
      mask_[static_cast<size_t>(2 * kSk + key)] = key < kSk / 2;
    }
  }

  Problem part(int64_t begin, int64_t end) const {
    Problem problem;
    problem.q = q_.view();
    problem.k = keys_of(k_.view(), begin, end);
    problem.v = keys_of(v_.view(), begin, end);
    problem.mask = {mask_.data() + begin, 0, 0, kSk, 1};
    return problem;
  }

  struct Result {
    explicit Result(DType dtype = DType::f32)
        : o(dtype, {kBatch, kSq, kHeads, kDv}, Layout::bshd), lse(kBatch, kHeads, kSq) {}
    AttentionPart part() const { return {o.view(), lse.view()}; }
    ForwardOutputs outputs() const { return {o.view(), lse.view()}; }
    GuardedTensor o;
    GuardedLse lse;
  };

  GuardedTensor q_, k_, v_;
  std::vector<uint8_t> mask_;
};

class CutKeysOfDType : public CutKeys, public ::testing::WithParamInterface<DType> {};

TEST_P(CutKeysOfDType, MergedParts_AreTheWhole) {
  const DType dtype = GetParam();
  Result whole, parts[3] = {Result(dtype), Result(dtype), Result(dtype)}, merged(dtype);
  reference::forward(part(0, kSk), whole.outputs());
  const int64_t cuts[] = {0, 7, kSk / 2, kSk};
  std::vector<AttentionPart> list;
  for (int i = 0; i < 3; ++i) {
    reference::forward(part(cuts[i], cuts[i + 1]), parts[i].outputs());
    list.push_back(parts[i].part());
  }
  merge_attention(list, merged.outputs());
  const double ulp = dtype == DType::f32 ? 0x1p-23 : dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
  expect_close(merged.o.dense(), whole.o.dense(), ulp);
  expect_close(merged.lse.dense(), whole.lse.dense(), 0x1p-23);
  EXPECT_EQ(merged.lse.dense()[0], kMinusInfinity);
  EXPECT_TRUE(merged.o.guards_intact() && merged.lse.guards_intact());
  merge_attention(list, parts[0].outputs());
  EXPECT_EQ(parts[0].o.dense(), merged.o.dense()) << "in the memory of a part";
}

struct Gradients {
  Gradients()
      : dq(DType::f32, {kBatch, kSq, kHeads, kD}, Layout::bshd),
        dk(DType::f32, {kBatch, kSk, kKvHeads, kD}, Layout::bshd),
        dv(DType::f32, {kBatch, kSk, kKvHeads, kDv}, Layout::bshd) {}
  GuardedTensor dq, dk, dv;
};

// Differentiating each part by what the merge hands back equals differentiating the whole.
TEST_F(CutKeys, GradientsOfTheParts_AreThoseOfTheWhole) {
  const auto d_o = random_tensor(DType::f32, {kBatch, kSq, kHeads, kDv}, 4);
  GuardedLse d_lse(kBatch, kHeads, kSq);
  d_lse.fill(random_tensor(DType::f32, {kBatch, kHeads, 1, kSq}, 5).dense());
  Gradients whole, cut[2];
  const auto differentiate = [&](const Problem& problem, const Result& result, const View& of_o,
                                 const LseView& of_lse, int64_t begin, Gradients& to) {
    BackwardTensors tensors{
        .o = result.o.view(), .lse = result.lse.view(), .d_o = of_o, .d_lse = of_lse};
    tensors.dq = to.dq.view();
    tensors.dk = keys_of(to.dk.view(), begin, begin + problem.k.seq);
    tensors.dv = keys_of(to.dv.view(), begin, begin + problem.k.seq);
    attention_backward(problem, tensors, Backend::cpu_tiled);
  };
  Result all;
  attention_forward(part(0, kSk), all.outputs());
  differentiate(part(0, kSk), all, d_o.view(), d_lse.view(), 0, whole);

  Result parts[2], merged, of_parts[2];
  const int64_t cuts[] = {0, kSk / 2, kSk};
  std::vector<AttentionPart> list;
  std::vector<PartGradients> gradients;
  for (int i = 0; i < 2; ++i) {
    attention_forward(part(cuts[i], cuts[i + 1]), parts[i].outputs());
    list.push_back(parts[i].part());
    gradients.push_back({of_parts[i].o.view(), of_parts[i].lse.view()});
  }
  merge_attention(list, merged.outputs());
  merge_attention_backward(list, merged.o.view(), d_o.view(), d_lse.view(), gradients);
  for (int i = 0; i < 2; ++i) {
    // The keys of the other part get no gradient from this one.
    differentiate(part(cuts[i], cuts[i + 1]), parts[i], of_parts[i].o.view(),
                  of_parts[i].lse.view(), cuts[i], cut[i]);
  }
  std::vector<float> dq = cut[0].dq.dense();
  const std::vector<float> second = cut[1].dq.dense();
  for (size_t i = 0; i < dq.size(); ++i) {
    dq[i] += second[i];
  }
  expect_close(dq, whole.dq.dense(), 4e-6);
  const auto expect_keys = [&](const GuardedTensor& got, const GuardedTensor& expected, int i) {
    expect_close(dense(keys_of(got.view(), cuts[i], cuts[i + 1])),
                 dense(keys_of(expected.view(), cuts[i], cuts[i + 1])), 4e-6);
  };
  for (int i = 0; i < 2; ++i) {
    expect_keys(cut[i].dk, whole.dk, i);
    expect_keys(cut[i].dv, whole.dv, i);
  }
}

TEST_P(CutKeysOfDType, EveryThreadCount_GivesTheSameBits) {
  Result parts[2] = {Result(GetParam()), Result(GetParam())}, one(GetParam()), three(GetParam());
  reference::forward(part(0, 9), parts[0].outputs());
  reference::forward(part(9, kSk), parts[1].outputs());
  const std::vector<AttentionPart> list{parts[0].part(), parts[1].part()};
  set_num_threads(1);
  merge_attention(list, one.outputs());
  set_num_threads(3);
  merge_attention(list, three.outputs());
  set_num_threads(0);
  EXPECT_EQ(one.o.bytes(), three.o.bytes());
  EXPECT_EQ(one.lse.bytes(), three.lse.bytes());
}

INSTANTIATE_TEST_SUITE_P(DTypes, CutKeysOfDType,
                         ::testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& test_info) { return core::name_of(test_info.param); });

TEST(MergeAttention, PartThatSeesNothing_IsNotRead) {
  float ones[] = {1, 2}, rubbish[] = {NAN, INFINITY}, merged[2];
  float lse_of_ones = 0.5f, nothing = kMinusInfinity, lse;
  const auto view = [](float* data) {
    return View{.data = data,
                .batch = 1,
                .seq = 1,
                .heads = 1,
                .dim = 2,
                .stride_batch = 2,
                .stride_seq = 2,
                .stride_head = 2};
  };
  const std::vector<AttentionPart> parts{{view(rubbish), {&nothing, 1, 1}},
                                         {view(ones), {&lse_of_ones, 1, 1}}};
  merge_attention(parts, {view(merged), {&lse, 1, 1}});
  EXPECT_EQ(merged[0], 1.0f);
  EXPECT_EQ(merged[1], 2.0f);
  EXPECT_EQ(lse, 0.5f);
  // Two parts of equal weight, far beyond where exp overflows.
  float large = 5000.0f, threes[] = {3, 4};
  const std::vector<AttentionPart> far{{view(ones), {&large, 1, 1}},
                                       {view(threes), {&large, 1, 1}}};
  merge_attention(far, {view(merged), {&lse, 1, 1}});
  EXPECT_FLOAT_EQ(merged[0], 2.0f);
  EXPECT_FLOAT_EQ(lse, 5000.0f + std::log(2.0f));
}

std::string refusal_of(const std::vector<AttentionPart>& parts, const ForwardOutputs& merged) {
  try {
    merge_attention(parts, merged);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

TEST(MergeAttention, WrongParts_AreNamed) {
  const GuardedTensor o(DType::f32, {1, 2, 1, 4}, Layout::bshd),
      other(DType::f32, {1, 3, 1, 4}, Layout::bshd);
  const GuardedLse lse(1, 1, 3);
  const AttentionPart good{o.view(), lse.view()};
  EXPECT_THAT(refusal_of({}, {o.view(), {}}), HasSubstr("no parts"));
  EXPECT_THAT(refusal_of({good, {other.view(), lse.view()}}, {o.view(), {}}),
              HasSubstr("part 1 has the shape [1, 3, 1, 4]"));
  EXPECT_THAT(refusal_of({good, {o.view(), {}}}, {o.view(), {}}), HasSubstr("part 1 has no LSE"));
  EXPECT_THAT(refusal_of({good}, {other.view(), {}}), HasSubstr("the result has the shape"));
  EXPECT_THAT(refusal_of({good}, {{.batch = 1, .seq = 2, .heads = 1, .dim = 4}, {}}),
              HasSubstr("the result has no memory"));
}

}  // namespace
}  // namespace regard::testing
