// ALiBi slopes of each packed sequence, and flash_attn_combine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/modules/flash_fixture.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHeads = 4;
// A sequence without queries and one without keys; rows 61 .. 63 and keys 137, 138 are of none.
const std::vector<int32_t> kCuQ = {0, 3, 3, 4, 21, 61}, kCuK = {0, 5, 9, 9, 18, 137};
constexpr int64_t kRowsQ = 64, kRowsK = 139, kSequences = 5;
const std::vector<float> kSlopes = {0.5f, 0.25f, 0.1f,  0.06f, 1.0f,   0.0f,  0.3f,
                                    0.7f, 0.2f,  0.9f,  0.4f,  0.125f, 0.05f, 0.15f,
                                    0.6f, 0.8f,  0.33f, 0.1f,  0.0f,   2.0f};
const float kSinks[] = {0.5f, -1.0f, 2.0f, 0.0f};

FlashOptions options_of_sequences() {
  FlashOptions options{.is_causal = true};
  options.alibi = {.slopes = kSlopes.data(), .stride_batch = kHeads};
  options.learnable_sink.logits = kSinks;
  return options;
}

// One call over the sequences above and everything it writes.
struct PackedCall {
  explicit PackedCall(DType dtype)
      : q(random_tensor(dtype, {1, kRowsQ, kHeads, 16}, Layout::sliced, 1)),
        k(random_tensor(dtype, {1, kRowsK, 2, 16}, Layout::bhsd, 2)),
        v(random_tensor(dtype, {1, kRowsK, 2, 24}, Layout::bshd, 3)),
        d_o(random_tensor(dtype, {1, kRowsQ, kHeads, 24}, Layout::bshd, 4)),
        o(dtype, shape_of(d_o.view()), Layout::sliced),
        dq(dtype, shape_of(q.view()), Layout::sliced),
        dk(dtype, shape_of(k.view()), Layout::bshd),
        dv(dtype, shape_of(v.view()), Layout::bhsd),
        lse(1, kHeads, kRowsQ),
        d_slopes(kSlopes.size(), NAN),
        d_sink(kHeads, NAN) {
    sequences.count = kSequences;
    sequences.cu_seqlens_q = kCuQ.data();
    sequences.cu_seqlens_k = kCuK.data();
  }

  void run(const FlashOptions& options) {
    flash_attn_varlen_func(q.view(), k.view(), v.view(), sequences, options,
                           {.o = o.view(), .lse = lse.view()});
    BackwardTensors tensors{.o = o.view(), .lse = lse.view(), .d_o = d_o.view()};
    tensors.dq = dq.view();
    tensors.dk = dk.view();
    tensors.dv = dv.view();
    tensors.d_slopes = d_slopes.data();
    tensors.d_sink = options.learnable_sink.logits == nullptr ? nullptr : d_sink.data();
    flash_attn_varlen_backward(q.view(), k.view(), v.view(), sequences, options, tensors);
  }

  bool guards_intact() const {
    return o.guards_intact() && dq.guards_intact() && dk.guards_intact() && dv.guards_intact() &&
           lse.guards_intact();
  }

  GuardedTensor q, k, v, d_o, o, dq, dk, dv;
  GuardedLse lse;
  std::vector<float> d_slopes, d_sink;
  VarlenSequences sequences;
};

// The same by the reference, each sequence alone with its row of slopes; what is of none stays 0.
struct ExpectedCall {
  explicit ExpectedCall(const PackedCall& call, const FlashOptions& options)
      : o(call.o.dense().size()),
        dq(call.dq.dense().size()),
        dk(call.dk.dense().size()),
        dv(call.dv.dense().size()),
        d_slopes(kSlopes.size()),
        d_sink(kHeads) {
    for (size_t i = 0; i < kSequences; ++i) {
      add(call, options, i);
    }
  }

  void add(const PackedCall& call, FlashOptions options, size_t i) {
    options.alibi = {.slopes = kSlopes.data() + i * kHeads};
    const int64_t num_queries = kCuQ[i + 1] - kCuQ[i], num_keys = kCuK[i + 1] - kCuK[i];
    const auto q = rows_of(call.q.view(), 0, kCuQ[i], num_queries);
    const auto k = rows_of(call.k.view(), 0, kCuK[i], num_keys);
    const auto v = rows_of(call.v.view(), 0, kCuK[i], num_keys);
    const auto d_o_rows = rows_of(call.d_o.view(), 0, kCuQ[i], num_queries);
    const Problem problem = sequence_problem(q, k, v, options);
    ExpectedForward forward(problem);
    GuardedTensor dq_rows(DType::f32, shape_of(problem.q), Layout::bshd);
    GuardedTensor dk_rows(DType::f32, shape_of(problem.k), Layout::bshd);
    GuardedTensor dv_rows(DType::f32, shape_of(problem.v), Layout::bshd);
    BackwardTensors tensors{
        .o = forward.o.view(), .lse = forward.lse.view(), .d_o = d_o_rows.view()};
    std::vector<float> sink(kHeads);
    tensors.dq = dq_rows.view();
    tensors.dk = dk_rows.view();
    tensors.dv = dv_rows.view();
    tensors.d_slopes = d_slopes.data() + i * kHeads;
    tensors.d_sink = sink.data();
    reference::backward(problem, tensors);
    put(forward.o, kCuQ[i], o);
    put(dq_rows, kCuQ[i], dq);
    put(dk_rows, kCuK[i], dk);
    put(dv_rows, kCuK[i], dv);
    for (size_t head = 0; head < sink.size(); ++head) {
      d_sink[head] += sink[head];
    }
  }

  static void put(const GuardedTensor& from, int64_t begin, std::vector<float>& to) {
    const std::vector<float> values = from.dense();
    std::copy(values.begin(), values.end(),
              to.begin() + begin * from.view().heads * from.view().dim);
  }

  std::vector<float> o, dq, dk, dv, d_slopes, d_sink;
};

TEST(FlashSlopes, EverySequence_HasItsOwn) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(core::name_of(dtype));
    PackedCall call(dtype);
    call.run(options_of_sequences());
    const ExpectedCall expected(call, options_of_sequences());
    expect_close(call.o.dense(), expected.o, dtype, "o");
    EXPECT_TRUE(call.guards_intact());
    if (dtype == DType::f32) {  // a 16-bit O is rounded where the reference has all of it
      expect_close(call.dq.dense(), expected.dq, dtype, "dq");
      expect_close(call.dk.dense(), expected.dk, dtype, "dk");
      expect_close(call.dv.dense(), expected.dv, dtype, "dv");
      expect_close(call.d_slopes, expected.d_slopes, dtype, "d_slopes");
      expect_close(call.d_sink, expected.d_sink, dtype, "d_sink");
    }
    // LSE of a row of no sequence.
    EXPECT_EQ(call.lse.view().data[kRowsQ - 1], -std::numeric_limits<float>::infinity());
  }
}

// Equal rows of slopes are one row for all, dropout's mask included; sums have other orders.
TEST(FlashSlopes, EqualRows_AreTheCallWithOneRow) {
  std::vector<float> repeated;
  for (int64_t i = 0; i < kSequences; ++i) {
    repeated.insert(repeated.end(), kSlopes.begin(), kSlopes.begin() + kHeads);
  }
  FlashOptions options{.is_causal = true};
  options.dropout = {.probability = 0.3f, .seed = 11};
  PackedCall rows(DType::f32), one(DType::f32);
  options.alibi = {.slopes = repeated.data(), .stride_batch = kHeads};
  rows.run(options);
  options.alibi = {.slopes = kSlopes.data()};
  one.run(options);
  expect_close(rows.o.dense(), one.o.dense(), DType::f32, "o");
  expect_close(rows.lse.dense(), one.lse.dense(), DType::f32, "lse");
  expect_close(rows.dq.dense(), one.dq.dense(), DType::f32, "dq");
  expect_close(rows.dk.dense(), one.dk.dense(), DType::f32, "dk");
  expect_close(rows.dv.dense(), one.dv.dense(), DType::f32, "dv");
  for (size_t head = 0; head < kHeads; ++head) {
    float sum = 0;
    for (size_t i = 0; i < kSequences; ++i) {
      sum += rows.d_slopes[i * kHeads + head];
    }
    EXPECT_NEAR(sum, one.d_slopes[head], 1e-4f);
  }
}

TEST(FlashSlopes, PagedSequences_HaveTheirOwn) {
  const auto k = random_tensor(DType::f16, {kSequences * 8, 16, 2, 16}, Layout::bhsd, 5);
  const auto v = random_tensor(DType::f16, {kSequences * 8, 16, 2, 24}, Layout::sliced, 6);
  std::vector<int32_t> table(kSequences * 8);
  std::iota(table.rbegin(), table.rend(), 0);
  PackedCall call(DType::f16);
  call.sequences.block_table = table.data();
  call.sequences.block_table_stride = 8;
  FlashOptions options = options_of_sequences();
  const ForwardOutputs outputs{.o = call.o.view(), .lse = call.lse.view()};
  flash_attn_varlen_func(call.q.view(), k.view(), v.view(), call.sequences, options, outputs);
  for (size_t i = 0; i < kSequences; ++i) {
    options.alibi = {.slopes = kSlopes.data() + i * kHeads};
    const int32_t* pages = table.data() + i * 8;
    const int64_t num_keys = kCuK[i + 1] - kCuK[i];
    const auto q = rows_of(call.q.view(), 0, kCuQ[i], kCuQ[i + 1] - kCuQ[i]);
    const auto keys = paged_rows_of(k.view(), pages, 0, num_keys);
    const auto values = paged_rows_of(v.view(), pages, 0, num_keys);
    expect_rows(outputs, 0, kCuQ[i], ExpectedForward(sequence_problem(q, keys, values, options)),
                "o");
  }
}

TEST(FlashSlopes, WrongStridesAndOutputs_WriteNothing) {
  PackedCall call(DType::f32);
  FlashOptions options = options_of_sequences();
  options.alibi.stride_batch = -4;
  EXPECT_THAT(refusal_of([&] { call.run(options); }), HasSubstr("stride of -4"));
  options = options_of_sequences();
  call.o = GuardedTensor(DType::f32, {1, kRowsQ - 1, kHeads, 24}, Layout::bshd);
  EXPECT_THAT(refusal_of([&] { call.run(options); }), HasSubstr("[1, 63, 4, 24]"));
}

// Keys in three pieces, whose outputs lie one behind the other: [splits, B, S, H, D].
struct Splits {
  Splits()
      : q(random_tensor(DType::bf16, {2, 9, kHeads, 16}, Layout::bshd, 1)),
        k(random_tensor(DType::bf16, {2, 50, 2, 16}, Layout::bshd, 2)),
        v(random_tensor(DType::bf16, {2, 50, 2, 8}, Layout::bshd, 3)),
        o(3 * kSplit),
        lse(3 * kSplitLse) {
    const int64_t cuts[] = {0, 13, 13, 50};  // one without keys
    for (int64_t i = 0; i < 3; ++i) {
      forward(cuts[i], cuts[i + 1], {view_of(i), lse_of(i)});
    }
  }

  // In f32, as the package's partial results are.
  void forward(int64_t begin, int64_t end, const ForwardOutputs& outputs) const {
    Problem problem;
    problem.q = q.view();
    problem.k = k.view();
    problem.v = v.view();
    for (View* view : {&problem.k, &problem.v}) {
      view->data = static_cast<uint16_t*>(view->data) + begin * view->stride_seq;
      view->seq = end - begin;
    }
    reference::forward(problem, outputs);
  }

  View view_of(int64_t split) {
    return {o.data() + split * kSplit, DType::f32, 2, 9, kHeads, 8, 9 * kHeads * 8, kHeads * 8, 8};
  }
  LseView lse_of(int64_t split) { return {lse.data() + split * kSplitLse, kHeads * 9, 9}; }
  PackedView partials() {
    const View first = view_of(0);
    return {.data = first.data,
            .batch = 2,
            .seq = 9,
            .parts = 3,
            .heads = kHeads,
            .dim = 8,
            .stride_batch = first.stride_batch,
            .stride_seq = first.stride_seq,
            .stride_part = kSplit,
            .stride_head = first.stride_head};
  }

  static constexpr int64_t kSplit = 2 * 9 * kHeads * 8, kSplitLse = 2 * kHeads * 9;
  GuardedTensor q, k, v;
  std::vector<float> o, lse;
};

TEST(FlashCombine, Splits_AreTheWholeInAnyOutputDtype) {
  Splits splits;
  GuardedTensor exact(DType::f32, {2, 9, kHeads, 8}, Layout::bshd);
  GuardedLse exact_lse(2, kHeads, 9);
  splits.forward(0, 50, {exact.view(), exact_lse.view()});
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    GuardedTensor out(dtype, {2, 9, kHeads, 8}, Layout::sliced);
    GuardedLse lse(2, kHeads, 9);
    flash_attn_combine(splits.partials(), {splits.lse_of(0), Splits::kSplitLse},
                       {out.view(), lse.view()});
    expect_close(out.dense(), exact.dense(), dtype, "out");
    expect_close(lse.dense(), exact_lse.dense(), DType::f32, "lse");
    EXPECT_TRUE(out.guards_intact() && lse.guards_intact());
  }
}

TEST(FlashCombine, WhatIsMissing_IsNamed) {
  Splits splits;
  GuardedTensor out(DType::f32, {2, 9, kHeads, 8}, Layout::sliced);
  const auto refusal = [&](const PackedView& partials, const SplitLse& lse) {
    return refusal_of([&] { flash_attn_combine(partials, lse, {out.view(), {}}); });
  };
  PackedView none = splits.partials();
  none.parts = 0;
  EXPECT_THAT(refusal(none, {splits.lse_of(0), 1}), HasSubstr("0 splits"));
  EXPECT_THAT(refusal(splits.partials(), {}), HasSubstr("lse_partial is null"));
  PackedView short_row = splits.partials();
  short_row.seq = 8;
  EXPECT_THAT(refusal(short_row, {splits.lse_of(0), 1}), HasSubstr("[2, 9, 4, 8]"));
}

}  // namespace
}  // namespace regard::testing
