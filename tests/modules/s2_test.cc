// Shifted sparse attention: equal to dense attention under the mask of its boundaries, rows that do
// not know each other, and no query that sees a later key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/attention.h"
#include "regard/error.h"
#include "tests/support/attention_judge.h"

namespace regard {
namespace {

using testing::AttentionCase;
using testing::AttentionJudge;
using testing::AttentionResults;
using testing::CaseOperands;
using ::testing::HasSubstr;
using testing::Layout;

using Lengths = std::vector<int32_t>;

// The boundaries as the specification writes them, integer halves and all.
std::vector<int64_t> boundaries(int64_t row_length, bool is_upper_half) {
  const int64_t g = row_length / 4, half = g / 2;
  return is_upper_half
             ? std::vector<int64_t>{0, half, half + g, half + 2 * g, half + 3 * g, row_length}
             : std::vector<int64_t>{0, g, 2 * g, 3 * g, row_length};
}

int64_t group_of(const std::vector<int64_t>& cuts, int64_t position) {
  return std::upper_bound(cuts.begin(), cuts.end(), position) - cuts.begin();
}

// Rows of `lengths` tokens in one packed row: who sees whom, [H, T, T].
std::vector<uint8_t> dense_mask(const Lengths& lengths, int64_t row_length, int64_t heads) {
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  std::vector<uint8_t> mask(static_cast<size_t>(heads * total * total));
  for (int64_t head = 0; head < heads; ++head) {
    const std::vector<int64_t> cuts = boundaries(row_length, head >= heads / 2);
    int64_t begin = 0;
    for (const int32_t length : lengths) {
      for (int64_t query = 0; query < length; ++query) {
        for (int64_t key = 0; key <= query; ++key) {
          mask[static_cast<size_t>((head * total + begin + query) * total + begin + key)] =
              group_of(cuts, query) == group_of(cuts, key);
        }
      }
      begin += length;
    }
  }
  return mask;
}

struct Heads {
  int64_t q, kv;
};

// s2 over rows of `lengths`, beside the same attention under a dense mask.
struct ShiftedRun {
  ShiftedRun(const Lengths& row_lengths, int64_t row_length, Heads heads, DType dtype,
             uint32_t seed = 5)
      : mask(dense_mask(row_lengths, row_length, heads.q)),
        judge(config_of(row_lengths, heads, dtype, seed)) {
    offsets.push_back(0);
    for (const int32_t length : row_lengths) {
      offsets.push_back(offsets.back() + length);
    }
    AttentionOptions options{.s2_row_length = row_length};
    options.documents = {.q_offsets = offsets.data(),
                         .k_offsets = offsets.data(),
                         .count = static_cast<int32_t>(row_lengths.size())};
    const Problem& dense = judge.problem();
    problem = lower(Module::s2, dense.q, dense.k, dense.v, options);
  }

  AttentionCase config_of(const Lengths& row_lengths, Heads heads, DType dtype, uint32_t seed) {
    AttentionCase config{.name = "s2", .dtype = dtype, .gradient_dtype = dtype};
    config.q_heads = heads.q;
    config.kv_heads = heads.kv;
    config.sq = config.sk = std::accumulate(row_lengths.begin(), row_lengths.end(), int64_t{0});
    config.d = config.dv = 24;
    config.layout = Layout::sliced;
    config.seed = seed;
    config.change = [this](Problem& dense) {
      dense.mask = {mask.data(), 0, dense.q.seq * dense.q.seq, dense.q.seq, 1};
    };
    return config;
  }

  void run(AttentionResults& results) const {
    attention_forward(problem, results.outputs(), backend_of(Module::s2));
    attention_backward(problem, results.tensors(judge.operands()), backend_of(Module::s2));
  }

  std::vector<uint8_t> mask;
  std::vector<int32_t> offsets;
  AttentionJudge judge;
  Problem problem;
};

const std::vector<Lengths> kRows = {{64}, {64, 64}, {64, 40, 7, 1, 64, 33}};

TEST(ShiftedSparse, Boundaries_AreThoseOfTheExamplesByHand) {
  EXPECT_EQ(boundaries(16, false), (std::vector<int64_t>{0, 4, 8, 12, 16}));
  EXPECT_EQ(boundaries(16, true), (std::vector<int64_t>{0, 2, 6, 10, 14, 16}));
  EXPECT_EQ(boundaries(20, true), (std::vector<int64_t>{0, 2, 7, 12, 17, 20}));
}

TEST(ShiftedSparse, Reference_EqualsTheDenseMaskBitForBit) {
  // 20: an odd group of 5, half of it 2. 4: groups of one token. 10 heads over 5: one pair
  // straddles the halves.
  for (const int64_t row_length : {64, 20, 4}) {
    for (const Heads heads : {Heads{4, 4}, Heads{6, 1}, Heads{10, 5}}) {
      const auto length = static_cast<int32_t>(row_length);
      const ShiftedRun run({length, length - 1, 1, length}, row_length, heads, DType::f32);
      AttentionResults got(run.judge.operands()), dense(run.judge.operands());
      reference::forward(run.problem, got.outputs());
      reference::backward(run.problem, got.tensors(run.judge.operands()));
      reference::forward(run.judge.problem(), dense.outputs());
      reference::backward(run.judge.problem(), dense.tensors(run.judge.operands()));
      EXPECT_TRUE(got.has_same_bits(dense)) << row_length << ", " << heads.q << " heads";
    }
  }
}

TEST(ShiftedSparse, ForwardAndBackward_FollowTheDenseMask) {
  for (const Lengths& rows : kRows) {
    for (const Heads heads : {Heads{4, 4}, Heads{4, 2}, Heads{6, 1}, Heads{10, 5}}) {
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        SCOPED_TRACE(std::to_string(rows.size()) + " rows, " + std::to_string(heads.q) + " heads");
        const ShiftedRun run(rows, 64, heads, dtype);
        AttentionResults got(run.judge.config(), run.judge.operands());
        run.run(got);
        run.judge.expect_right(got);
      }
    }
  }
}

TEST(ShiftedSparse, LongRow_FollowsTheDenseMask) {
  const ShiftedRun run({500, 333}, 500, {4, 2}, DType::f32);
  AttentionResults got(run.judge.config(), run.judge.operands());
  run.run(got);
  run.judge.expect_right(got);
}

// Elements of the rows begin .. begin + count, in every head, of a dense [1, S, H, D].
std::vector<float> rows_of(const testing::GuardedTensor& tensor, int64_t begin, int64_t count) {
  const View& view = tensor.view();
  const std::vector<float> all = tensor.dense();
  const int64_t row = view.heads * view.dim;
  return {all.begin() + begin * row, all.begin() + (begin + count) * row};
}

void copy_rows(const View& from, int64_t begin, const View& to) {
  for (int64_t seq = 0; seq < to.seq; ++seq) {
    for (int64_t head = 0; head < to.heads; ++head) {
      for (int64_t d = 0; d < to.dim; ++d) {
        core::store(
            to.data, to.dtype, core::row_offset(to, 0, seq, head) + d,
            core::load(from.data, from.dtype, core::row_offset(from, 0, begin + seq, head) + d));
      }
    }
  }
}

TEST(ShiftedSparse, RaggedRows_AreWhatTheyAreAlone) {
  const Lengths rows = {64, 40, 7, 1, 64, 33};
  const ShiftedRun together(rows, 64, {4, 2}, DType::f32);
  AttentionResults all(together.judge.config(), together.judge.operands());
  together.run(all);
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE("row " + std::to_string(i));
    const int64_t begin = together.offsets[i];
    const ShiftedRun alone({rows[i]}, 64, {4, 2}, DType::f32, 1000);
    copy_rows(together.problem.q, begin, alone.problem.q);
    copy_rows(together.problem.k, begin, alone.problem.k);
    copy_rows(together.problem.v, begin, alone.problem.v);
    copy_rows(together.judge.operands().d_o(), begin, alone.judge.operands().d_o());
    AttentionResults one(alone.judge.config(), alone.judge.operands());
    alone.run(one);
    EXPECT_EQ(one.o.dense(), rows_of(all.o, begin, rows[i]));
    EXPECT_EQ(one.dq.dense(), rows_of(all.dq, begin, rows[i]));
    EXPECT_EQ(one.dk.dense(), rows_of(all.dk, begin, rows[i]));
    EXPECT_EQ(one.dv.dense(), rows_of(all.dv, begin, rows[i]));
  }
}

TEST(ShiftedSparse, PerturbedToken_LeavesEarlierOutputsUntouched) {
  for (const int64_t token : {1, 8, 16, 31, 40, 56, 63}) {
    const ShiftedRun run({64}, 64, {4, 2}, DType::bf16);
    AttentionResults before(run.judge.config(), run.judge.operands());
    run.run(before);
    for (const View* view : {&run.problem.q, &run.problem.k, &run.problem.v}) {
      for (int64_t head = 0; head < view->heads; ++head) {
        for (int64_t d = 0; d < view->dim; ++d) {
          core::store(view->data, view->dtype, core::row_offset(*view, 0, token, head) + d, 9.0f);
        }
      }
    }
    AttentionResults after(run.judge.config(), run.judge.operands());
    run.run(after);
    EXPECT_EQ(rows_of(after.o, 0, token), rows_of(before.o, 0, token)) << "token " << token;
    EXPECT_NE(rows_of(after.o, token, 1), rows_of(before.o, token, 1)) << "token " << token;
  }
}

TEST(ShiftedSparse, BatchRowsWithPadding_AreCutByTheRowLength) {
  // [B, S]: every batch row is cut alike; what stands behind a row's last token is never seen.
  const AttentionCase config{
      .name = "s2", .batch = 2, .q_heads = 4, .kv_heads = 2, .sq = 32, .sk = 32, .seed = 9};
  const CaseOperands operands(config);
  const Problem& dense = operands.problem();
  const Problem problem = lower(Module::s2, dense.q, dense.k, dense.v, {});
  EXPECT_EQ(problem.chunks.size, 8);
  EXPECT_EQ(problem.chunks.shift, 4);
  EXPECT_EQ(problem.chunks.first_shifted_head, 2);
  AttentionResults before(config, operands), after(config, operands);
  attention_forward(problem, before.outputs(), backend_of(Module::s2));
  for (int64_t head = 0; head < 2; ++head) {  // row 1 has 20 tokens, 12 of padding
    for (int64_t seq = 20; seq < 32; ++seq) {
      for (int64_t d = 0; d < problem.k.dim; ++d) {
        const int64_t at = core::row_offset(problem.k, 1, seq, head) + d;
        core::store(problem.k.data, DType::f32, at, -5.0f);
        core::store(problem.v.data, DType::f32, at, 5.0f);
      }
    }
  }
  attention_forward(problem, after.outputs(), backend_of(Module::s2));
  EXPECT_EQ(rows_of(after.o, 0, 32 + 20), rows_of(before.o, 0, 32 + 20));
}

TEST(ShiftedSparse, Inference_IsDense) {
  const View q{.batch = 1, .seq = 1, .heads = 3, .dim = 8},
      k{.batch = 1, .seq = 13, .heads = 3, .dim = 8};
  const Problem problem = lower(Module::s2, q, k, k, {.training = false});
  EXPECT_EQ(problem.chunks.size, 0);
  EXPECT_EQ(problem.causal, Causal::lower_right);
}

std::string refusal(int64_t sq, int64_t sk, int64_t heads, const AttentionOptions& options) {
  const View q{.batch = 1, .seq = sq, .heads = heads, .dim = 8};
  const View k{.batch = 1, .seq = sk, .heads = heads, .dim = 8};
  try {
    lower(Module::s2, q, k, k, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

TEST(ShiftedSparse, CallsItCannotCut_AreRefusedWithTheValue) {
  EXPECT_EQ(refusal(16, 16, 2, {}), "");
  EXPECT_THAT(refusal(18, 18, 2, {}), HasSubstr("row length 18: must be a multiple of 4"));
  EXPECT_THAT(refusal(18, 18, 2, {}), HasSubstr("20"));
  EXPECT_THAT(refusal(16, 16, 3, {}), HasSubstr("q.heads 3"));
  EXPECT_THAT(refusal(16, 20, 2, {}), HasSubstr("training"));
  EXPECT_THAT(refusal(16, 16, 2, {.is_causal = false}), HasSubstr("is_causal"));
  const int32_t offsets[] = {0, 6, 16};
  AttentionOptions packed;
  packed.documents = {.q_offsets = offsets, .k_offsets = offsets, .count = 2};
  EXPECT_THAT(refusal(16, 16, 2, packed), HasSubstr("s2_row_length"));
  packed.s2_row_length = 8;
  EXPECT_THAT(refusal(16, 16, 2, packed), HasSubstr("10 tokens"));
  packed.s2_row_length = 12;
  EXPECT_EQ(refusal(16, 16, 2, packed), "");
}

}  // namespace
}  // namespace regard
