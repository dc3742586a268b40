// Masks made of other masks and of lists of tensors, and rows split again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/modules/xformers_fixture.h"

namespace regard::xformers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The same mask over pages of 8: twice, by its lengths and made of the padded or gappy one.
TEST(XformersMakePaged, PagedMasks_AreThoseOfTheirLengths) {
  const PageTable pages{kTable, 8};
  const auto expect_same = [](const AttentionBias& made, const AttentionBias& wanted) {
    EXPECT_EQ(dense_of(made, 14, 64), dense_of(wanted, 14, 64));
  };
  const auto padded = BlockDiagonalPaddedKeysMask::from_seqlens(kPagedQueries, 24, kPagedKeys);
  expect_same(padded.make_paged(pages),
              PagedBlockDiagonalPaddedKeysMask(kPagedQueries, kPagedKeys, pages));
  expect_same(
      BlockDiagonalCausalWithOffsetPaddedKeysMask::from_seqlens(kPagedQueries, 24, kPagedKeys)
          .make_paged(pages),
      PagedBlockDiagonalCausalWithOffsetPaddedKeysMask(kPagedQueries, kPagedKeys, pages));
  expect_same(BlockDiagonalCausalLocalAttentionPaddedKeysMask::from_seqlens_local(kPagedQueries, 24,
                                                                                  kPagedKeys, 6)
                  .make_paged(pages),
              PagedBlockDiagonalCausalLocalPaddedKeysMask(kPagedQueries, kPagedKeys, pages, 6));
  const Ints starts = {3, 32 + 2, 64 + 7, 96};  // in blocks of 32
  expect_same(BlockDiagonalGappyKeysMask::from_seqlens(kPagedQueries, starts, kGappyKeys)
                  .make_paged(pages, 32),
              PagedBlockDiagonalGappyKeysMask(kPagedQueries, kPagedStarts, kGappyKeys, pages));
  expect_same(
      BlockDiagonalCausalWithOffsetGappyKeysMask::from_seqlens(kPagedQueries, starts, kGappyKeys)
          .make_paged(pages, 32),
      PagedBlockDiagonalCausalWithOffsetGappyKeysMask(kPagedQueries, kPagedStarts, kGappyKeys,
                                                      pages));

  const auto gappy = BlockDiagonalGappyKeysMask::from_seqlens(kPagedQueries, starts, kGappyKeys);
  EXPECT_THAT(refusal([&] { (void)gappy.make_paged(pages, 20); }),
              HasSubstr("notional_padding 20: must be a multiple of page_size 8"));
  EXPECT_THAT(refusal([&] { (void)gappy.make_paged(pages, 40); }),
              HasSubstr("block 1 starts at key 34: must lie in its 40 from 40"));
  EXPECT_THAT(refusal([&] {
                (void)padded.make_paged({kTable, 4});
              }),
              HasSubstr("block 0 ends at row 18 of 12"));
}

TEST(XformersMake, OtherMasks_AreThoseOfTheirNames) {
  const BiasTensor bias = shared_bias();
  Problem problem;
  LowerTriangularMask().add_bias(bias).lower(problem);
  EXPECT_EQ(problem.causal, Causal::upper_left);
  EXPECT_EQ(problem.bias.data, bias.data);
  EXPECT_EQ(dense_of(LowerTriangularFromBottomRightMask().make_local_attention(3), 4, 9),
            dense_of(LowerTriangularFromBottomRightLocalAttentionMask(3), 4, 9));
  EXPECT_EQ(dense_of(BlockDiagonalPaddedKeysMask::from_seqlens(kQueries, 16, kFewKeys)
                         .make_local_attention(3, 2),
                     40, 80),
            dense_of(BlockDiagonalLocalAttentionPaddedKeysMask::from_seqlens_local(kQueries, 16,
                                                                                   kFewKeys, 3, 2),
                     40, 80));
}

TEST(XformersSplit, QueriesAndKeysOfTensorLists_ComeBackApart) {
  std::vector<float> values(10);
  View q{.batch = 2, .seq = 1, .heads = 1, .dim = 1}, k = q, row = q;
  k.seq = 3;
  const View more_q{.batch = 1, .seq = 2, .heads = 1, .dim = 1};
  const View more_k{.batch = 1, .seq = 4, .heads = 1, .dim = 1};
  const auto mask =
      BlockDiagonalMask::from_tensor_lists_qkv(std::vector{q, more_q}, std::vector{k, more_k});
  EXPECT_THAT(mask.blocks().q_offsets, ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(mask.blocks().k_starts, ElementsAre(0, 3, 6, 10));
  row = {.data = values.data(), .batch = 1, .seq = 4, .heads = 1, .dim = 1, .stride_seq = 1};
  const std::vector<View> queries = mask.make_causal().split_queries(row);
  ASSERT_EQ(queries.size(), 2u);
  EXPECT_EQ(queries[0].batch, 2);
  EXPECT_EQ(queries[1].data, values.data() + 2);
  EXPECT_THAT(refusal([&] { (void)mask.split(row); }), HasSubstr("use split_queries"));
  row.seq = 10;
  const std::vector<View> keys = mask.split_kv(row);
  EXPECT_EQ(keys[0].seq, 3);
  EXPECT_EQ(keys[0].stride_batch, 3);
  EXPECT_EQ(keys[1].data, values.data() + 6);
  EXPECT_THAT(refusal([&] { (void)mask.split_queries(row); }),
              HasSubstr("rows 4 and the tensor's"));
  EXPECT_THAT(refusal([&] {
                BlockDiagonalMask::from_tensor_lists_qkv(std::vector{q}, std::vector{more_k});
              }),
              HasSubstr("tensors_q[0].batch 2 and tensors_k[0].batch 1"));
}

TEST(XformersSplit, TensorList_ComesBackAsViews) {
  std::vector<float> values(7 * 2);
  const View packed{.data = values.data(),
                    .batch = 1,
                    .seq = 7,
                    .heads = 1,
                    .dim = 2,
                    .stride_batch = 14,
                    .stride_seq = 2,
                    .stride_head = 2};
  View pair = packed, single = packed;
  pair.batch = 2;
  pair.seq = 2;
  single.seq = 3;
  const auto mask = BlockDiagonalMask::from_tensor_list(std::vector<View>{pair, single});
  EXPECT_THAT(mask.blocks().q_offsets, ElementsAre(0, 2, 4, 7));
  const std::vector<View> parts = mask.split(packed);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].batch, 2);
  EXPECT_EQ(parts[0].seq, 2);
  EXPECT_EQ(parts[0].stride_batch, 4);
  EXPECT_EQ(parts[1].data, values.data() + 8);
  EXPECT_EQ(parts[1].seq, 3);
}

}  // namespace
}  // namespace regard::xformers
