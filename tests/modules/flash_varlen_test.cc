// flash_attn_varlen_func: every sequence as if it were alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/modules/flash_fixture.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

// Lengths with nothing, one token, more queries than keys, and a sequence of several tiles.
const std::vector<int32_t> kQueryLengths = {3, 0, 1, 17, 40, 5};
const std::vector<int32_t> kKeyLengths = {5, 4, 0, 9, 130, 5};

std::vector<int32_t> cumulative(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu_seqlens{0};
  for (const int32_t length : lengths) {
    cu_seqlens.push_back(cu_seqlens.back() + length);
  }
  return cu_seqlens;
}

int64_t total(const std::vector<int32_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

// Operands of the sequences above, and one call's outputs.
struct Packed {
  explicit Packed(DType type = DType::f32, int64_t spare_q = 0, int64_t spare_k = 0)
      : dtype(type),
        q(random_tensor(dtype, {1, total(kQueryLengths) + spare_q, 4, 16}, Layout::sliced, 1)),
        k(random_tensor(dtype, {1, total(kKeyLengths) + spare_k, 2, 16}, Layout::bhsd, 2)),
        v(random_tensor(dtype, {1, total(kKeyLengths) + spare_k, 2, 24}, Layout::bshd, 3)),
        d_o(random_tensor(dtype, {1, q.view().seq, 4, 24}, Layout::bshd, 4)),
        o(dtype, shape_of(d_o.view()), Layout::sliced),
        lse(1, 4, q.view().seq) {
    sequences.count = static_cast<int32_t>(kQueryLengths.size());
    sequences.cu_seqlens_q = cu_q.data();
    sequences.cu_seqlens_k = cu_k.data();
  }
  ForwardOutputs outputs() { return {.o = o.view(), .lse = lse.view()}; }

  DType dtype;
  GuardedTensor q, k, v, d_o, o;
  GuardedLse lse;
  std::vector<int32_t> cu_q = cumulative(kQueryLengths), cu_k = cumulative(kKeyLengths);
  VarlenSequences sequences;
};

const float kSlopes[] = {0.5f, 0.25f, 0.125f, 0.0625f};
const float kSinks[] = {0.5f, -1.0f, 2.0f, 0.0f};

std::vector<FlashOptions> varlen_options() {
  std::vector<FlashOptions> options(6);
  for (size_t i = 1; i < options.size(); ++i) {
    options[i].is_causal = true;
  }
  options[2].window.left = 6;
  options[3].softcap = 4.0f;
  options[3].alibi.slopes = kSlopes;
  options[4].attention_chunk = 7;
  options[5].learnable_sink.logits = kSinks;
  return options;
}

// Gradients of one sequence by the reference: dq, dk, dv of its own rows.
struct ExpectedBackward {
  ExpectedBackward(const Problem& problem, ExpectedForward& forward, const View& d_o)
      : dq(DType::f32, shape_of(problem.q), Layout::bshd),
        dk(DType::f32, shape_of(problem.k), Layout::bshd),
        dv(DType::f32, shape_of(problem.v), Layout::bshd) {
    BackwardTensors tensors{.o = forward.o.view(), .lse = forward.lse.view(), .d_o = d_o};
    tensors.dq = dq.view();
    tensors.dk = dk.view();
    tensors.dv = dv.view();
    reference::backward(problem, tensors);
  }
  GuardedTensor dq, dk, dv;
};

TEST(FlashVarlen, EverySequence_IsAsIfAlone) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const FlashOptions& options : varlen_options()) {
      Packed packed(dtype);
      flash_attn_varlen_func(packed.q.view(), packed.k.view(), packed.v.view(), packed.sequences,
                             options, packed.outputs());
      for (size_t i = 0; i < kQueryLengths.size(); ++i) {
        SCOPED_TRACE("sequence " + std::to_string(i) + " " + core::name_of(dtype));
        const auto q = rows_of(packed.q.view(), 0, packed.cu_q[i], kQueryLengths[i]);
        const auto k = rows_of(packed.k.view(), 0, packed.cu_k[i], kKeyLengths[i]);
        const auto v = rows_of(packed.v.view(), 0, packed.cu_k[i], kKeyLengths[i]);
        expect_rows(packed.outputs(), 0, packed.cu_q[i],
                    ExpectedForward(sequence_problem(q, k, v, options)), "o");
      }
      EXPECT_TRUE(packed.o.guards_intact() && packed.lse.guards_intact());
    }
  }
}

// seqused, left padding and rows behind the last sequence: forward and backward. What belongs to no
// sequence has O = 0, LSE = -inf and no gradient.
TEST(FlashVarlen, UnusedRowsAndPadding_CountNowhere) {
  Packed packed(DType::f32, 3, 2);
  const std::vector<int32_t> used_q = {2, 0, 1, 17, 33, 0}, used_k = {5, 3, 0, 6, 130, 5};
  const std::vector<int32_t> leftpad = {1, 3, 0, 0, 70, 2};
  packed.sequences.seqused_q = used_q.data();
  packed.sequences.seqused_k = used_k.data();
  packed.sequences.leftpad_k = leftpad.data();
  const FlashOptions options{.is_causal = true};
  flash_attn_varlen_func(packed.q.view(), packed.k.view(), packed.v.view(), packed.sequences,
                         options, packed.outputs());
  GuardedTensor dq(DType::f32, shape_of(packed.q.view()), Layout::bshd);
  GuardedTensor dk(DType::f32, shape_of(packed.k.view()), Layout::sliced);
  GuardedTensor dv(DType::f32, shape_of(packed.v.view()), Layout::bshd);
  BackwardTensors tensors{.o = packed.o.view(), .lse = packed.lse.view(), .d_o = packed.d_o.view()};
  tensors.dq = dq.view();
  tensors.dk = dk.view();
  tensors.dv = dv.view();
  flash_attn_varlen_backward(packed.q.view(), packed.k.view(), packed.v.view(), packed.sequences,
                             options, tensors);

  std::vector<float> right_o(packed.o.dense().size(), 0.0f);
  std::vector<float> right_dq(dq.dense().size(), 0.0f), right_dk(dk.dense().size(), 0.0f),
      right_dv(dv.dense().size(), 0.0f);
  const auto put = [](const GuardedTensor& from, int64_t begin, std::vector<float>& to) {
    const std::vector<float> values = from.dense();
    const View& view = from.view();
    std::copy(values.begin(), values.end(), to.begin() + begin * view.heads * view.dim);
  };
  for (size_t i = 0; i < used_q.size(); ++i) {
    const int64_t key_begin = packed.cu_k[i] + leftpad[i], num_keys = used_k[i] - leftpad[i];
    const auto q = rows_of(packed.q.view(), 0, packed.cu_q[i], used_q[i]);
    const auto k = rows_of(packed.k.view(), 0, key_begin, num_keys);
    const auto v = rows_of(packed.v.view(), 0, key_begin, num_keys);
    const auto d_o = rows_of(packed.d_o.view(), 0, packed.cu_q[i], used_q[i]);
    const Problem problem = sequence_problem(q, k, v, options);
    ExpectedForward forward(problem);
    const ExpectedBackward backward(problem, forward, d_o.view());
    put(forward.o, packed.cu_q[i], right_o);
    put(backward.dq, packed.cu_q[i], right_dq);
    put(backward.dk, key_begin, right_dk);
    put(backward.dv, key_begin, right_dv);
    expect_rows(packed.outputs(), 0, packed.cu_q[i], forward, "o");
  }
  expect_close(packed.o.dense(), right_o, DType::f32, "o");
  expect_close(dq.dense(), right_dq, DType::f32, "dq");
  expect_close(dk.dense(), right_dk, DType::f32, "dk");
  expect_close(dv.dense(), right_dv, DType::f32, "dv");
  // The row behind the first sequence's used ones.
  EXPECT_EQ(packed.lse.view().data[2], -std::numeric_limits<float>::infinity());
}

TEST(FlashVarlen, PackedForms_GiveTheSameBits) {
  const FlashOptions options{.is_causal = true};
  const Shape shape{1, total(kQueryLengths), 2, 16};
  PackedTensor qkv(DType::f32, shape, 3), kv(DType::f32, shape, 2);
  PackedTensor dqkv(DType::f32, shape, 3), dkv(DType::f32, shape, 2);
  std::vector<GuardedTensor> parts;
  for (uint32_t part = 0; part < 3; ++part) {
    parts.push_back(random_tensor(DType::f32, shape, Layout::bshd, part + 1));
    qkv.fill_part(part, parts.back().dense());
    if (part > 0) {
      kv.fill_part(part - 1, parts.back().dense());
    }
  }
  Packed packed;
  packed.sequences.cu_seqlens_k = packed.sequences.cu_seqlens_q;
  const View &q = parts[0].view(), &k = parts[1].view(), &v = parts[2].view();
  GuardedTensor right(DType::f32, shape, Layout::bshd), by_qkv(DType::f32, shape, Layout::bshd),
      by_kv(DType::f32, shape, Layout::bshd);
  GuardedLse lse(1, 2, shape.seq);
  flash_attn_varlen_func(q, k, v, packed.sequences, options, {right.view(), lse.view()});
  flash_attn_varlen_qkvpacked_func(qkv.view(), packed.sequences, options, {by_qkv.view(), {}});
  flash_attn_varlen_kvpacked_func(q, kv.view(), packed.sequences, options, {by_kv.view(), {}});
  EXPECT_EQ(by_qkv.dense(), right.dense());
  EXPECT_EQ(by_kv.dense(), right.dense());

  GuardedTensor dq(DType::f32, shape, Layout::bshd), dk(DType::f32, shape, Layout::bshd),
      dv(DType::f32, shape, Layout::bshd), dq2(DType::f32, shape, Layout::bshd);
  BackwardTensors tensors{.o = right.view(), .lse = lse.view(), .d_o = parts[1].view()};
  flash_attn_varlen_qkvpacked_backward(qkv.view(), packed.sequences, options, tensors, dqkv.view());
  tensors.dq = dq2.view();
  flash_attn_varlen_kvpacked_backward(q, kv.view(), packed.sequences, options, tensors, dkv.view());
  tensors.dq = dq.view();
  tensors.dk = dk.view();
  tensors.dv = dv.view();
  flash_attn_varlen_backward(q, k, v, packed.sequences, options, tensors);
  EXPECT_EQ(dense(part_of(dqkv.view(), 0)), dq.dense());
  EXPECT_EQ(dense(part_of(dqkv.view(), 1)), dk.dense());
  EXPECT_EQ(dense(part_of(dqkv.view(), 2)), dv.dense());
  EXPECT_EQ(dq2.dense(), dq.dense());
  EXPECT_EQ(dense(part_of(dkv.view(), 0)), dk.dense());
  EXPECT_EQ(dense(part_of(dkv.view(), 1)), dv.dense());
}

TEST(FlashVarlen, PagesOfAnySize_AreRowsOfTheirSequence) {
  const FlashOptions options{.is_causal = true};
  for (const int64_t page_size : {1, 16, 256}) {
    SCOPED_TRACE(page_size);
    const int64_t pages_each = 130 / page_size + 1;
    const auto count = static_cast<int64_t>(kKeyLengths.size());
    const auto k =
        random_tensor(DType::f16, {count * pages_each, page_size, 2, 16}, Layout::bhsd, 5);
    const auto v =
        random_tensor(DType::f16, {count * pages_each, page_size, 2, 24}, Layout::sliced, 6);
    std::vector<int32_t> table;  // pages lie backwards
    for (int64_t i = count * pages_each; i > 0; --i) {
      table.push_back(static_cast<int32_t>(i - 1));
    }
    const std::vector<int32_t> leftpad = {1, 0, 0, 2, 70, 5};
    Packed packed(DType::f16);
    packed.sequences.block_table = table.data();
    packed.sequences.block_table_stride = pages_each;
    packed.sequences.leftpad_k = leftpad.data();
    flash_attn_varlen_func(packed.q.view(), k.view(), v.view(), packed.sequences, options,
                           packed.outputs());
    for (size_t i = 0; i < kQueryLengths.size(); ++i) {
      const int32_t* row = table.data() + static_cast<int64_t>(i) * pages_each;
      const auto q = rows_of(packed.q.view(), 0, packed.cu_q[i], kQueryLengths[i]);
      const int64_t num_keys = kKeyLengths[i] - leftpad[i];
      const auto keys = paged_rows_of(k.view(), row, leftpad[i], num_keys);
      const auto values = paged_rows_of(v.view(), row, leftpad[i], num_keys);
      expect_rows(packed.outputs(), 0, packed.cu_q[i],
                  ExpectedForward(sequence_problem(q, keys, values, options)), "o");
    }
  }
}

TEST(FlashVarlen, WrongSequences_AreNamedWithTheirValues) {
  const auto refusal = [](const auto& change) {
    Packed packed;
    change(packed);
    return refusal_of([&] {
      flash_attn_varlen_func(packed.q.view(), packed.k.view(), packed.v.view(), packed.sequences,
                             {}, packed.outputs());
    });
  };
  const std::vector<int32_t> too_many = {4, 0, 1, 17, 40, 5};
  EXPECT_EQ(refusal([](Packed&) {}), "");
  EXPECT_THAT(refusal([](Packed& p) { p.sequences.count = 0; }), HasSubstr("0 sequences"));
  EXPECT_THAT(refusal([](Packed& p) { p.sequences.cu_seqlens_k = nullptr; }),
              HasSubstr("cu_seqlens_k is null: 6 sequences need 7 entries"));
  EXPECT_THAT(refusal([](Packed& p) { p.cu_q[0] = 1; }), HasSubstr("cu_seqlens_q[0] is 1"));
  EXPECT_THAT(refusal([](Packed& p) { p.cu_k[2] = 1; }),
              HasSubstr("cu_seqlens_k[2] is 1: must not be less than the 5"));
  EXPECT_THAT(refusal([](Packed& p) { p.cu_q[6] = 99; }),
              HasSubstr("cu_seqlens_q[6] is 99: the tensor has 66 rows"));
  EXPECT_THAT(refusal([](Packed& p) { p.sequences.max_seqlen_k = 100; }),
              HasSubstr("max_seqlen_k 100: sequence 4 has 130 rows"));
  EXPECT_THAT(refusal([&](Packed& p) { p.sequences.seqused_q = too_many.data(); }),
              HasSubstr("seqused_q[0] is 4: must be from 0 to the 3 rows"));
  EXPECT_THAT(refusal([&](Packed& p) { p.sequences.leftpad_k = kQueryLengths.data(); }),
              HasSubstr("leftpad_k[2] is 1"));
}

}  // namespace
}  // namespace regard::testing
