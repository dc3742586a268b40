// Every attention-bias object: what it says of each pair is what its lowering computes, forward and
// backward.
#include "regard/xformers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/error.h"
#include "tests/modules/xformers_fixture.h"
#include "tests/support/attention_judge.h"

namespace regard::xformers {
namespace {

using regard::testing::AttentionCase;
using regard::testing::AttentionJudge;
using regard::testing::AttentionResults;
using regard::testing::Layout;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct MaskCase {
  std::string name;
  std::shared_ptr<AttentionBias> mask;
  int64_t sq, sk;
  int64_t batch = 1;
};

template <typename Mask>
MaskCase band(const std::string& name, int64_t sq, int64_t sk, Mask mask) {
  return {name, std::make_shared<Mask>(std::move(mask)), sq, sk, 2};
}

template <typename Mask>
MaskCase blocks(const std::string& name, int64_t sq, int64_t sk, Mask mask) {
  return {name, std::make_shared<Mask>(std::move(mask)), sq, sk};
}

std::vector<MaskCase> band_cases() {
  return {
      band("LowerTriangular", 17, 40, LowerTriangularMask()),
      band("LowerTriangularTall", 40, 17, LowerTriangularMask()),
      band("FromBottomRight", 17, 40, LowerTriangularFromBottomRightMask()),
      band("FromBottomRightTall", 40, 17, LowerTriangularFromBottomRightMask()),
      band("FromBottomRightLocal", 33, 40, LowerTriangularFromBottomRightLocalAttentionMask(5)),
      band("FromBottomRightLocal1", 33, 40, LowerTriangularFromBottomRightLocalAttentionMask(1)),
      band("LocalFromBottomRight", 33, 40, LocalAttentionFromBottomRightMask(4, 2)),
      band("LocalFromBottomRightTall", 40, 33, LocalAttentionFromBottomRightMask(0, 3)),
      band("Tensor", 37, 40, TensorBias(shared_bias())),
      band("LowerTriangularTensor", 37, 40, LowerTriangularMaskWithTensorBias(shared_bias())),
  };
}

std::vector<MaskCase> block_cases() {
  const auto packed = BlockDiagonalMask::from_seqlens(kQueries, kKeys);
  return {
      blocks("BlockDiagonal", 40, 62, packed),
      blocks("BlockDiagonalSelf", 40, 40, BlockDiagonalMask::from_seqlens(kQueries)),
      blocks("BlockDiagonalCausal", 40, 62, packed.make_causal()),
      blocks("BlockDiagonalCausalShort", 40, 25,
             BlockDiagonalCausalMask::from_seqlens(kQueries, kFewKeys)),
      blocks("BlockDiagonalCausalFromBottomRight", 40, 62, packed.make_causal_from_bottomright()),
      blocks("BlockDiagonalCausalLocal", 40, 62, packed.make_local_attention(5)),
      blocks("BlockDiagonalCausalLocalFromBottomRight", 40, 62,
             packed.make_local_attention_from_bottomright(5)),
      blocks("PaddedKeys", 40, 80,
             BlockDiagonalPaddedKeysMask::from_seqlens(kQueries, 16, kFewKeys)),
      blocks("CausalWithOffsetPaddedKeys", 40, 80,
             BlockDiagonalCausalWithOffsetPaddedKeysMask::from_seqlens(kQueries, 16, kFewKeys)),
      blocks("LocalAttentionPaddedKeys", 40, 80,
             BlockDiagonalLocalAttentionPaddedKeysMask::from_seqlens_local(kQueries, 16, kFewKeys,
                                                                           3, 2)),
      blocks("CausalLocalAttentionPaddedKeys", 40, 80,
             BlockDiagonalCausalLocalAttentionPaddedKeysMask::from_seqlens_local(kQueries, 16,
                                                                                 kFewKeys, 4)),
      blocks("GappyKeys", 40, 60,
             BlockDiagonalGappyKeysMask::from_seqlens(kQueries, kStarts, Ints{7, 4, 13, 0, 9})),
      blocks("CausalWithOffsetGappyKeys", 40, 60,
             BlockDiagonalCausalWithOffsetGappyKeysMask::from_seqlens(kQueries, kStarts,
                                                                      Ints{7, 4, 13, 0, 9})),
      blocks("LocalFromBottomRightGappyKeys", 40, 60,
             BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask::from_seqlens_local_gappy(
                 kQueries, kStarts, Ints{7, 4, 13, 0, 9}, 3, 1)),
  };
}

std::vector<MaskCase> paged_cases() {
  const PageTable pages{kTable, 8};
  return {
      blocks("PagedPaddedKeys", 14, 64,
             PagedBlockDiagonalPaddedKeysMask(kPagedQueries, kPagedKeys, pages)),
      blocks("PagedCausalWithOffsetPaddedKeys", 14, 64,
             PagedBlockDiagonalCausalWithOffsetPaddedKeysMask(kPagedQueries, kPagedKeys, pages)),
      blocks("PagedCausalLocalPaddedKeys", 14, 64,
             PagedBlockDiagonalCausalLocalPaddedKeysMask(kPagedQueries, kPagedKeys, pages, 6)),
      blocks("PagedGappyKeys", 14, 64,
             PagedBlockDiagonalGappyKeysMask(kPagedQueries, kPagedStarts, kGappyKeys, pages)),
      blocks("PagedCausalWithOffsetGappyKeys", 14, 64,
             PagedBlockDiagonalCausalWithOffsetGappyKeysMask(kPagedQueries, kPagedStarts,
                                                             kGappyKeys, pages)),
  };
}

// The case of one mask: its dense bias stands in the Problem that the judge knows.
struct MaskRun {
  explicit MaskRun(const MaskCase& mask, DType dtype, Layout layout)
      : judge(case_of(mask, dtype, layout)), lowered(judge.problem()) {
    lowered.bias = {};
    mask.mask->lower(lowered);
  }

  AttentionCase case_of(const MaskCase& mask, DType dtype, Layout layout) {
    AttentionCase config{.name = mask.name,
                         .dtype = dtype,
                         .gradient_dtype = dtype,
                         .batch = mask.batch,
                         .q_heads = 4,
                         .kv_heads = 2,
                         .sq = mask.sq,
                         .sk = mask.sk,
                         .d = 20,
                         .dv = 12,
                         .layout = layout,
                         .seed = 31};
    config.change = [this, &mask](Problem& problem) {
      dense = materialise(*mask.mask, problem);
      problem.bias = {dense.data(),
                      DType::f32,
                      problem.q.heads * problem.q.seq * problem.k.seq,
                      problem.q.seq * problem.k.seq,
                      problem.k.seq,
                      1};
    };
    return config;
  }

  std::vector<float> dense;
  AttentionJudge judge;
  Problem lowered;
};

void PrintTo(const MaskCase& mask, std::ostream* out) { *out << mask.name; }

// Rows of k and v that no query sees: what stands there must not matter.
void poison_unseen_keys(const MaskRun& run) {
  const Problem& problem = run.judge.problem();
  const int64_t num_keys = problem.k.seq;
  for (int64_t batch = 0; batch < problem.k.batch; ++batch) {
    for (int64_t key = 0; key < num_keys; ++key) {
      const int64_t rows = problem.q.heads * problem.q.seq;
      bool is_seen = false;
      for (int64_t row = batch * rows; row < (batch + 1) * rows; ++row) {
        is_seen = is_seen || run.dense[static_cast<size_t>(row * num_keys + key)] != kMasked;
      }
      for (const View* view : {&problem.k, &problem.v}) {
        for (int64_t head = 0; !is_seen && head < view->heads; ++head) {
          for (int64_t d = 0; d < view->dim; ++d) {
            core::store(view->data, view->dtype, core::row_offset(*view, batch, key, head) + d,
                        std::numeric_limits<float>::quiet_NaN());
          }
        }
      }
    }
  }
}

class XformersMask : public ::testing::TestWithParam<MaskCase> {};
class XformersPagedMask : public ::testing::TestWithParam<MaskCase> {};

std::string name_of(const ::testing::TestParamInfo<MaskCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Bands, XformersMask, ::testing::ValuesIn(band_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Blocks, XformersMask, ::testing::ValuesIn(block_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Pages, XformersPagedMask, ::testing::ValuesIn(paged_cases()), name_of);

TEST_P(XformersMask, Lowering_MeansTheDenseBias) {
  MaskRun run(GetParam(), DType::f32, Layout::bshd);
  AttentionResults got(run.judge.operands()), dense(run.judge.operands());
  reference::forward(run.lowered, got.outputs());
  reference::backward(run.lowered, got.tensors(run.judge.operands()));
  reference::forward(run.judge.problem(), dense.outputs());
  reference::backward(run.judge.problem(), dense.tensors(run.judge.operands()));
  // The same terms in the same order: a masked key adds exactly 0.
  EXPECT_EQ(got.o.dense(), dense.o.dense());
  EXPECT_EQ(got.lse.dense(), dense.lse.dense());
  EXPECT_EQ(got.dq.dense(), dense.dq.dense());
  EXPECT_EQ(got.dk.dense(), dense.dk.dense());
  EXPECT_EQ(got.dv.dense(), dense.dv.dense());
}

TEST_P(XformersMask, ForwardAndBackward_FollowTheDenseBias) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Layout layout = dtype == DType::f32 ? Layout::sliced : Layout::bhsd;
    MaskRun run(GetParam(), dtype, layout);
    ASSERT_EQ(why_unsupported(Backend::cpu_tiled, run.lowered), "");
    poison_unseen_keys(run);
    AttentionResults got(run.judge.config(), run.judge.operands());
    const Arguments arguments{.q = run.lowered.q,
                              .k = run.lowered.k,
                              .v = run.lowered.v,
                              .attn_bias = GetParam().mask.get(),
                              .scale = run.lowered.scale};
    memory_efficient_attention_forward_requires_grad(arguments, got.o.view(), got.lse.view());
    memory_efficient_attention_backward(
        arguments, run.judge.operands().d_o(), got.o.view(), got.lse.view(),
        {.dq = got.dq.view(), .dk = got.dk.view(), .dv = got.dv.view()});
    run.judge.expect_right(got);
  }
}

TEST_P(XformersPagedMask, Forward_FollowsTheDenseBias) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    MaskRun run(GetParam(), dtype, Layout::bshd);
    poison_unseen_keys(run);
    AttentionResults got(run.judge.config(), run.judge.operands());
    const Problem& pool = run.judge.problem();
    memory_efficient_attention_forward_requires_grad(
        {.q = pool.q, .k = pool.k, .v = pool.v, .attn_bias = GetParam().mask.get()}, got.o.view(),
        got.lse.view());
    run.judge.expect_forward_right(got);
  }
}

TEST(XformersMaterialise, TwoQueriesOverFourKeys_ByHand) {
  EXPECT_THAT(dense_of(LowerTriangularMask(), 2, 4), ElementsAre(1, 0, 0, 0, 1, 1, 0, 0));
  EXPECT_THAT(dense_of(LowerTriangularFromBottomRightMask(), 2, 4),
              ElementsAre(1, 1, 1, 0, 1, 1, 1, 1));
  EXPECT_THAT(dense_of(LowerTriangularFromBottomRightLocalAttentionMask(2), 2, 4),
              ElementsAre(0, 1, 1, 0, 0, 0, 1, 1));
  EXPECT_THAT(dense_of(LocalAttentionFromBottomRightMask(0, 1), 2, 4),
              ElementsAre(0, 0, 1, 1, 0, 0, 0, 1));
}

TEST(XformersMaterialise, TwoBlocks_ByHand) {
  const Ints queries = {2, 1}, keys = {3, 2};
  const auto mask = BlockDiagonalMask::from_seqlens(queries, keys);
  EXPECT_THAT(dense_of(mask, 3, 5), ElementsAre(1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1));
  EXPECT_THAT(dense_of(mask.make_causal(), 3, 5),
              ElementsAre(1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(dense_of(mask.make_causal_from_bottomright(), 3, 5),
              ElementsAre(1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1));
  EXPECT_THAT(dense_of(mask.make_local_attention(1), 3, 5),
              ElementsAre(1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0));
  const Ints one = {1, 0};
  EXPECT_THAT(dense_of(BlockDiagonalPaddedKeysMask::from_seqlens(one, 2, Ints{1, 2}), 1, 4),
              ElementsAre(1, 0, 0, 0));
}

TEST(XformersRefusals, LengthsThatDoNotFit_AreNamed) {
  const Ints two = {2, 3}, one = {4}, negative = {-1}, less = {2, 1};
  EXPECT_THAT(refusal([&] { BlockDiagonalMask::from_seqlens(two, one); }), HasSubstr("2"));
  EXPECT_THAT(refusal([&] { BlockDiagonalMask::from_seqlens(negative); }), HasSubstr("-1"));
  EXPECT_THAT(refusal([&] { BlockDiagonalCausalFromBottomRightMask::from_seqlens(two, less); }),
              HasSubstr("block 1 has 1 keys and 3 queries"));
  EXPECT_THAT(
      refusal([&] { BlockDiagonalCausalLocalAttentionMask::from_seqlens_local(two, less, 2); }),
      HasSubstr("window of 2"));
  EXPECT_THAT(refusal([&] { BlockDiagonalPaddedKeysMask::from_seqlens(two, 2, two); }),
              HasSubstr("kv_padding 2"));
  EXPECT_THAT(refusal([&] {
                BlockDiagonalGappyKeysMask::from_seqlens(two, Ints{0, 3, 4}, two);
              }),
              HasSubstr("block 1 ends at key 6 of 4"));
  EXPECT_THAT(refusal([&] { LowerTriangularFromBottomRightLocalAttentionMask(0); }),
              HasSubstr("window_size 0"));
  EXPECT_THAT(refusal([&] { LocalAttentionFromBottomRightMask(-1, 0); }),
              HasSubstr("window_left -1"));
}

TEST(XformersRefusals, TensorsThatDoNotFitTheMask_AreNamed) {
  const Ints lengths = {2, 3};
  const auto mask = BlockDiagonalMask::from_seqlens(lengths);
  const auto lower_over = [&](int64_t batch, int64_t sq, int64_t sk) {
    return refusal([&] {
      Problem problem;
      problem.q = {.batch = batch, .seq = sq, .heads = 1, .dim = 1};
      problem.k = {.batch = batch, .seq = sk, .heads = 1, .dim = 1};
      mask.lower(problem);
    });
  };
  EXPECT_EQ(lower_over(1, 5, 5), "");
  EXPECT_THAT(lower_over(2, 5, 5), HasSubstr("batch"));
  EXPECT_THAT(lower_over(1, 6, 5), HasSubstr("queries 5"));
  EXPECT_THAT(lower_over(1, 5, 4), HasSubstr("keys 5"));
}

TEST(XformersRefusals, PagesOutsideThePool_AreNamed) {
  const Ints one = {1}, keys = {9}, table = {1, 4};
  EXPECT_THAT(refusal([&] {
                PagedBlockDiagonalPaddedKeysMask(one, Ints{17}, {table, 8});
              }),
              HasSubstr("row 17 of 16"));
  const PagedBlockDiagonalPaddedKeysMask mask(one, keys, {table, 8});
  EXPECT_THAT(refusal([&] {
                Problem problem;
                problem.q = {.batch = 1, .seq = 1, .heads = 1, .dim = 1};
                problem.k = problem.v = {.batch = 1, .seq = 32, .heads = 1, .dim = 1};
                mask.lower(problem);
              }),
              HasSubstr("page 4 of 4"));
}

}  // namespace
}  // namespace regard::xformers
