// memory_efficient_attention: grouped heads over strides of every kind, gradients, dropout, bias
// gradients, parts and their merging.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "reference/attention.h"
#include "regard/merge_attention.h"
#include "tests/modules/xformers_fixture.h"

namespace regard::xformers {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

constexpr int64_t kBatch = 2, kGroups = 3, kHeads = 2, kQueries = 21, kKeys = 34, kDim = 12;

std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(engine);
  }
  return values;
}

// Where the heads of [B, M, G, H, K] lie: side by side, or groups inside heads.
enum class Order : uint8_t { groups_of_heads, heads_of_groups };

// A tensor with memory of its own. Expanded ones have one head a group in memory.
struct Grouped {
  Grouped(int64_t seq, Order order, bool is_expanded, uint32_t seed)
      : values(random_values(kBatch * seq * kGroups * (is_expanded ? 1 : kHeads) * kDim, seed)) {
    const int64_t heads = is_expanded ? 1 : kHeads;
    tensor.data = values.data();
    tensor.batch = kBatch;
    tensor.seq = seq;
    tensor.groups = kGroups;
    tensor.heads = kHeads;
    tensor.dim = kDim;
    tensor.stride_seq = kGroups * heads * kDim;
    tensor.stride_batch = seq * tensor.stride_seq;
    tensor.stride_group = order == Order::groups_of_heads ? heads * kDim : kDim;
    tensor.stride_head = is_expanded ? 0 : order == Order::groups_of_heads ? kDim : kGroups * kDim;
  }

  // [B, M, G*H, K] (an expanded one: [B, M, G, K]), copied element by element.
  std::vector<float> in_heads() const {
    std::vector<float> dense;
    const int64_t heads = tensor.stride_head == 0 ? 1 : kHeads;
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t m = 0; m < tensor.seq; ++m) {
        for (int64_t g = 0; g < kGroups; ++g) {
          for (int64_t h = 0; h < heads; ++h) {
            for (int64_t k = 0; k < kDim; ++k) {
              dense.push_back(values[static_cast<size_t>(
                  b * tensor.stride_batch + m * tensor.stride_seq + g * tensor.stride_group +
                  h * tensor.stride_head + k)]);
            }
          }
        }
      }
    }
    return dense;
  }

  std::vector<float> values;
  Tensor tensor;
};

View heads_view(std::vector<float>& values, int64_t seq) {
  const int64_t heads = static_cast<int64_t>(values.size()) / (kBatch * seq * kDim);
  return {.data = values.data(),
          .batch = kBatch,
          .seq = seq,
          .heads = heads,
          .dim = kDim,
          .stride_batch = seq * heads * kDim,
          .stride_seq = heads * kDim,
          .stride_head = kDim};
}

constexpr int64_t kRows = kGroups * kHeads * kQueries;  // of a batch row

LseView lse_view(std::vector<float>& lse) { return {lse.data(), kRows, kQueries}; }

// The same computation by the reference over [B, M, G*H, K].
struct Exact {
  std::vector<float> o, lse, dq, dk, dv, d_bias;
};

Exact exact_of(const Grouped& q, const Grouped& k, const Grouped& v, const Grouped& d_o,
               const std::function<void(Problem&, BackwardTensors&)>& change) {
  std::vector<float> q_dense = q.in_heads(), k_dense = k.in_heads(), v_dense = v.in_heads(),
                     d_o_dense = d_o.in_heads();
  Exact exact;
  exact.o.resize(q_dense.size());
  exact.dq.resize(q_dense.size());
  exact.dk.resize(k_dense.size());
  exact.dv.resize(v_dense.size());
  exact.lse.resize(kBatch * kRows);
  Problem problem;
  problem.q = heads_view(q_dense, kQueries);
  problem.k = heads_view(k_dense, kKeys);
  problem.v = heads_view(v_dense, kKeys);
  BackwardTensors tensors;
  tensors.o = heads_view(exact.o, kQueries);
  tensors.lse = lse_view(exact.lse);
  tensors.d_o = heads_view(d_o_dense, kQueries);
  tensors.dq = heads_view(exact.dq, kQueries);
  tensors.dk = heads_view(exact.dk, kKeys);
  tensors.dv = heads_view(exact.dv, kKeys);
  change(problem, tensors);
  reference::forward(problem, {.o = tensors.o, .lse = tensors.lse});
  reference::backward(problem, tensors);
  return exact;
}

struct GroupedCase {
  Order q_order, k_order;
  bool is_expanded;
};

const std::vector<GroupedCase> kGroupedCases = {
    {Order::groups_of_heads, Order::groups_of_heads, false},
    {Order::groups_of_heads, Order::groups_of_heads, true},
    {Order::heads_of_groups, Order::groups_of_heads, false},
    {Order::heads_of_groups, Order::groups_of_heads, true},
    {Order::groups_of_heads, Order::heads_of_groups, false},
};

// Everything of one 5-D call.
struct GroupedRun {
  explicit GroupedRun(const GroupedCase& config)
      : q(kQueries, config.q_order, false, 1),
        k(kKeys, config.k_order, config.is_expanded, 2),
        v(kKeys, config.k_order, config.is_expanded, 3),
        d_o(kQueries, config.q_order, false, 4),
        o(kQueries, config.q_order, false, 5),
        dq(kQueries, config.q_order, false, 6),
        dk(kKeys, config.k_order, config.is_expanded, 7),
        dv(kKeys, config.k_order, config.is_expanded, 8),
        lse(kBatch * kRows) {
    arguments.q = q.tensor;
    arguments.k = k.tensor;
    arguments.v = v.tensor;
  }

  void run(const BiasGradient& d_bias = {}) {
    memory_efficient_attention_forward_requires_grad(arguments, o.tensor, lse_view(lse));
    memory_efficient_attention_backward(
        arguments, d_o.tensor, o.tensor, lse_view(lse),
        {.dq = dq.tensor, .dk = dk.tensor, .dv = dv.tensor, .d_bias = d_bias});
  }

  void expect(const Exact& exact) const {
    EXPECT_THAT(o.in_heads(), Pointwise(FloatNear(2e-6f), exact.o));
    EXPECT_THAT(lse, Pointwise(FloatNear(4e-6f), exact.lse));
    EXPECT_THAT(dq.in_heads(), Pointwise(FloatNear(1e-5f), exact.dq));
    EXPECT_THAT(dk.in_heads(), Pointwise(FloatNear(1e-5f), exact.dk));
    EXPECT_THAT(dv.in_heads(), Pointwise(FloatNear(1e-5f), exact.dv));
  }

  Grouped q, k, v, d_o, o, dq, dk, dv;
  std::vector<float> lse;
  Arguments arguments;
};

TEST(XformersGroups, EveryLayout_IsTheSameAttention) {
  const LowerTriangularFromBottomRightMask mask;
  for (const GroupedCase& config : kGroupedCases) {
    SCOPED_TRACE(static_cast<int>(config.q_order));
    GroupedRun run(config);
    run.arguments.attn_bias = &mask;
    run.run();
    run.expect(exact_of(run.q, run.k, run.v, run.d_o, [&](Problem& problem, BackwardTensors&) {
      problem.causal = Causal::lower_right;
    }));
  }
}

TEST(XformersGroups, Dropout_IsThatOfTheCombinedHeads) {
  for (const GroupedCase& config : kGroupedCases) {
    GroupedRun run(config);
    run.arguments.p = 0.3f;
    run.arguments.seed = 77;
    run.run();
    run.expect(exact_of(run.q, run.k, run.v, run.d_o, [](Problem& problem, BackwardTensors&) {
      problem.dropout = {.probability = 0.3f, .seed = 77};
    }));
  }
}

// Keys that a group shares beside values of each head.
TEST(XformersGroups, DropoutWithSharedKeysAlone_IsTheSameAttention) {
  GroupedRun run({Order::groups_of_heads, Order::groups_of_heads, false});
  Grouped shared(kKeys, Order::groups_of_heads, true, 2);
  Grouped repeated(kKeys, Order::groups_of_heads, false, 2);
  for (int64_t row = 0; row < kBatch * kKeys * kGroups; ++row) {
    for (int64_t i = 0; i < kHeads * kDim; ++i) {
      repeated.values[static_cast<size_t>(row * kHeads * kDim + i)] =
          shared.values[static_cast<size_t>(row * kDim + i % kDim)];
    }
  }
  run.arguments.k = shared.tensor;
  run.arguments.p = 0.3f;
  run.arguments.seed = 77;
  run.run();
  run.expect(exact_of(run.q, repeated, run.v, run.d_o, [](Problem& problem, BackwardTensors&) {
    problem.dropout = {.probability = 0.3f, .seed = 77};
  }));
}

TEST(XformersGroups, BiasAndItsGradient_CountCombinedHeads) {
  enum class Form : uint8_t { full, heads, shared };  // [B, H, M, N], [H, M, N], [M, N]
  for (const GroupedCase& config : kGroupedCases) {
    for (const Form form : {Form::full, Form::heads, Form::shared}) {
      const int64_t scores = kQueries * kKeys, heads = kGroups * kHeads;
      const int64_t head_stride = form == Form::shared ? 0 : scores;
      const int64_t batch_stride = form == Form::full ? heads * scores : 0;
      const std::vector<float> bias = random_values(
          (form == Form::full ? kBatch : 1) * (form == Form::shared ? 1 : heads) * scores, 9);
      std::vector<float> d_bias(bias.size(), NAN), exact_bias(bias.size(), NAN);
      const TensorBias mask({bias.data(), DType::f32, batch_stride, head_stride, kKeys, 1});
      GroupedRun run(config);
      run.arguments.attn_bias = &mask;
      run.run({d_bias.data(), batch_stride, head_stride, kKeys, 1});
      run.expect(
          exact_of(run.q, run.k, run.v, run.d_o, [&](Problem& problem, BackwardTensors& tensors) {
            mask.lower(problem);
            tensors.d_bias = {exact_bias.data(), batch_stride, head_stride, kKeys, 1};
          }));
      EXPECT_THAT(d_bias, Pointwise(FloatNear(1e-5f), exact_bias));
    }
  }
}

TEST(XformersGroups, CallsWithoutAMeaning_AreRefused) {
  GroupedRun uneven(kGroupedCases[2]);
  uneven.arguments.p = 0.1f;
  uneven.o.tensor.data = nullptr;
  EXPECT_THAT(refusal([&] { uneven.run(); }), HasSubstr("out.data is null"));
  uneven.o.tensor.data = uneven.o.values.data();
  uneven.dk.tensor.stride_seq = 0;
  EXPECT_THAT(refusal([&] { uneven.run(); }), HasSubstr("dk.stride_seq 0"));
  uneven.o.tensor.dim = kDim + 1;
  EXPECT_THAT(refusal([&] { uneven.run(); }), HasSubstr("out.dim 13"));

  GroupedRun shared(kGroupedCases[1]);
  shared.dk.tensor.stride_head = kDim;
  EXPECT_THAT(refusal([&] { shared.run(); }), HasSubstr("stride_head of 0"));

  GroupedRun other(kGroupedCases[0]);
  other.arguments.k.groups = 2;
  EXPECT_THAT(refusal([&] { other.run(); }), HasSubstr("q.groups 3 and k.groups 2"));
  other.arguments.k = other.k.tensor;
  other.arguments.k.heads = 1;
  EXPECT_THAT(refusal([&] { other.run(); }), HasSubstr("q.heads 2 and k.heads 1"));

  GroupedRun without_lse(kGroupedCases[0]);
  EXPECT_THAT(refusal([&] {
                memory_efficient_attention_forward_requires_grad(without_lse.arguments,
                                                                 without_lse.o.tensor, {});
              }),
              HasSubstr("lse"));
  without_lse.arguments.p = 0.5f;
  EXPECT_THAT(refusal([&] {
                memory_efficient_attention_partial(without_lse.arguments, without_lse.o.tensor,
                                                   lse_view(without_lse.lse));
              }),
              HasSubstr("dropout"));
}

TEST(XformersAttention, HeadSizeBeyondTheModule_IsUnsupported) {
  std::vector<float> row(513, 0.5f), out(513);
  const View q = single_head(row.data(), DType::f32, 1, 1, 513);
  try {
    memory_efficient_attention({.q = q, .k = q, .v = q},
                               single_head(out.data(), DType::f32, 1, 1, 513));
    ADD_FAILURE() << "a head size of 513 was served";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("head_dim 513: xformers serves head sizes 1 to 512"));
  }
}

TEST(XformersSingleHead, ThreeAxes_AreOneHead) {
  std::vector<float> q = random_values(2 * 3 * 4, 1), k = random_values(2 * 5 * 4, 2), o(q.size()),
                     exact(q.size());
  const auto view = [](std::vector<float>& values, int64_t seq) {
    return single_head(values.data(), DType::f32, 2, seq, 4);
  };
  memory_efficient_attention({.q = view(q, 3), .k = view(k, 5), .v = view(k, 5), .scale = -0.7f},
                             view(o, 3));
  Problem problem;
  problem.q = view(q, 3);
  problem.k = problem.v = view(k, 5);
  problem.scale = -0.7f;
  reference::forward(problem, {.o = view(exact, 3)});
  EXPECT_THAT(o, Pointwise(FloatNear(1e-6f), exact));
}

// Keys begin .. end of a view, as a cache that is split in two.
View keys_of(const View& view, int64_t begin, int64_t end) {
  View part = view;
  part.seq = end - begin;
  part.data = static_cast<float*>(view.data) + begin * view.stride_seq;
  return part;
}

TEST(XformersPartial, PartsMerged_AreTheWhole) {
  std::vector<float> q = random_values(kBatch * kQueries * 2 * kDim, 1),
                     k = random_values(kBatch * kKeys * 2 * kDim, 2),
                     v = random_values(kBatch * kKeys * 2 * kDim, 3), whole(q.size()),
                     merged(q.size()), first(q.size()), second(q.size());
  std::vector<float> lse_whole(kBatch * 2 * kQueries), lse_merged(lse_whole.size()),
      lse_first(lse_whole.size()), lse_second(lse_whole.size());
  const auto lse = [](std::vector<float>& values) {
    return LseView{values.data(), 2 * kQueries, kQueries};
  };
  const View queries = heads_view(q, kQueries), keys = heads_view(k, kKeys),
             values = heads_view(v, kKeys);
  memory_efficient_attention_forward_requires_grad({.q = queries, .k = keys, .v = values},
                                                   heads_view(whole, kQueries), lse(lse_whole));
  memory_efficient_attention_partial(
      {.q = queries, .k = keys_of(keys, 0, 11), .v = keys_of(values, 0, 11)},
      heads_view(first, kQueries), lse(lse_first));
  memory_efficient_attention_partial(
      {.q = queries, .k = keys_of(keys, 11, kKeys), .v = keys_of(values, 11, kKeys)},
      heads_view(second, kQueries), lse(lse_second));
  const AttentionPart parts[] = {{heads_view(first, kQueries), lse(lse_first)},
                                 {heads_view(second, kQueries), lse(lse_second)}};
  merge_attention(parts, {.o = heads_view(merged, kQueries), .lse = lse(lse_merged)});
  EXPECT_THAT(merged, Pointwise(FloatNear(1e-6f), whole));
  EXPECT_THAT(lse_merged, Pointwise(FloatNear(2e-6f), lse_whole));
}

}  // namespace
}  // namespace regard::xformers
