// Block masks against every pair, from each of their sources.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

#include "program/evaluate.h"
#include "regard/error.h"
#include "regard/flex_attention.h"
#include "tests/program/random_program.h"

namespace regard {
namespace {

using ::testing::HasSubstr;

// What to_dense() must be, by asking every pair of every sequence.
template <class Sees>
std::vector<uint8_t> expected_blocks(const BlockMaskShape& shape, int64_t num_masks,
                                     const Sees& sees) {
  const int64_t rows = (shape.q_len + shape.block_q - 1) / shape.block_q;
  const int64_t columns = (shape.k_len + shape.block_k - 1) / shape.block_k;
  std::vector<uint8_t> blocks;
  for (int64_t mask = 0; mask < num_masks; ++mask) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        bool any = false, all = true;
        for (int64_t q = row * shape.block_q; q < std::min(shape.q_len, (row + 1) * shape.block_q);
             ++q) {
          for (int64_t kv = column * shape.block_k;
               kv < std::min(shape.k_len, (column + 1) * shape.block_k); ++kv) {
            const int verdict = sees(mask, q, kv);  // -1: of two documents, 0, 1
            any = any || verdict == 1;
            all = all && verdict != 0;
          }
        }
        blocks.push_back(!any ? 0 : all ? 2 : 1);
      }
    }
  }
  return blocks;
}

TEST(BlockMask, OfRandomPrograms_IsExact) {
  std::mt19937 random(41);
  const test::RandomTensors tensors(2);
  for (int i = 0; i < 300; ++i) {
    const std::string text = test::random_program(random, {.depth = 2, .has_score = false});
    const Program mask = mask_program(text + " < 0.3", test::RandomTensors::infos());
    BlockMaskShape shape{.batch = 2, .heads = 3};
    shape.q_len = 1 + static_cast<int64_t>(random() % 70);
    shape.k_len = 1 + static_cast<int64_t>(random() % 70);
    shape.block_q = 1 + static_cast<int32_t>(random() % 20);
    shape.block_k = 1 + static_cast<int32_t>(random() % 20);
    const BoundProgram bound = tensors.bind(mask);
    const BlockMask blocks = create_block_mask(bound, shape);
    const BlockMaskView view = blocks.view();
    const int64_t num_heads = view.stride_head != 0 ? 3 : 1;
    const int64_t num_masks = num_heads * (view.stride_batch != 0 ? 2 : 1);
    program::Evaluator evaluator(bound);
    const auto expected = expected_blocks(shape, num_masks, [&](int64_t m, int64_t q, int64_t kv) {
      return evaluator.value({.b = static_cast<int32_t>(m / num_heads),
                              .h = static_cast<int32_t>(m % num_heads),
                              .q = static_cast<int32_t>(q),
                              .kv = static_cast<int32_t>(kv),
                              .q_len = static_cast<int32_t>(shape.q_len),
                              .kv_len = static_cast<int32_t>(shape.k_len)}) != 0.0
                 ? 1
                 : 0;
    });
    EXPECT_EQ(blocks.to_dense(), expected) << text;
  }
}

// What a mask over packed rows must give; `sees` gets the document and the positions inside it.
template <class Sees>
void expect_packed_blocks(const Program& mask, const Sees& sees) {
  const std::vector<int32_t> q_offsets = {0, 5, 5, 23, 40, 77}, k_offsets = {0, 7, 9, 20, 55, 80};
  for (const int32_t block : {1, 4, 16, 33, 128}) {
    BlockMaskShape shape{.q_len = 77, .k_len = 80, .block_q = block, .block_k = block};
    shape.documents = {q_offsets.data(), k_offsets.data(), 5};
    const auto document = [](const std::vector<int32_t>& offsets, int64_t token) {
      int32_t i = 0;
      while (offsets[static_cast<size_t>(i) + 1] <= token) ++i;
      return i;
    };
    const auto expected = expected_blocks(shape, 1, [&](int64_t, int64_t token, int64_t key) {
      const int32_t i = document(q_offsets, token), j = document(k_offsets, key);
      if (i != j) return -1;
      const int64_t q = token - q_offsets[static_cast<size_t>(i)];
      return sees(i, q, key - k_offsets[static_cast<size_t>(j)]) ? 1 : 0;
    });
    EXPECT_EQ(create_block_mask(BoundProgram{&mask}, shape).to_dense(), expected) << block;
  }
}

TEST(BlockMask, OfPackedRows_CountsInsideDocuments) {
  expect_packed_blocks(
      mask_program("q >= kv && q - kv < 9 || doc[q] == 3"),
      [](int32_t i, int64_t q, int64_t kv) { return (q >= kv && q - kv < 9) || i == 3; });
}

// A block of which one document sees all and its neighbour nothing is not full.
TEST(BlockMask, OfPackedRows_KnowsBlocksThatDocumentsShare) {
  for (const int32_t odd : {0, 1}) {
    expect_packed_blocks(mask_program(odd == 0 ? "doc[q] % 2 == 0" : "doc[q] % 2 == 1"),
                         [odd](int32_t i, int64_t, int64_t) { return i % 2 == odd; });
  }
}

TEST(BlockMask, OfSpans_IsExact) {
  std::mt19937 random(42);
  const BlockMaskShape shape{.heads = 2, .q_len = 50, .k_len = 61, .block_q = 8, .block_k = 8};
  std::vector<KeySpan> spans(100);
  for (KeySpan& span : spans) {
    span.begin = static_cast<int32_t>(random() % 61);
    span.end = span.begin + static_cast<int32_t>(random() % 40) - 5;
  }
  const auto sees = [&](int64_t head, int64_t q, int64_t kv) {
    const KeySpan& span = spans[static_cast<size_t>(head * 50 + q)];
    return kv >= span.begin && kv < span.end ? 1 : 0;
  };
  EXPECT_EQ(create_block_mask(spans, shape).to_dense(), expected_blocks(shape, 2, sees));
  EXPECT_EQ(create_block_mask(std::span(spans).first(50), shape).to_dense(),
            expected_blocks(shape, 1, sees));
  EXPECT_THROW(create_block_mask(std::span(spans).first(49), shape), Error);
}

TEST(BlockMask, OfADenseMask_IsExact) {
  std::mt19937 random(43);
  const BlockMaskShape shape{
      .batch = 2, .heads = 3, .q_len = 19, .k_len = 23, .block_q = 4, .block_k = 6};
  std::vector<uint8_t> bytes(2 * 19 * 23);
  for (uint8_t& byte : bytes) byte = random() % 9 != 0;
  std::fill_n(bytes.begin(), 23 * 8, uint8_t{0});
  const MaskTensor mask{bytes.data(), 19 * 23, 0, 23, 1};
  const auto sees = [&](int64_t batch, int64_t q, int64_t kv) {
    return int{bytes[static_cast<size_t>((batch * 19 + q) * 23 + kv)]};
  };
  EXPECT_EQ(create_block_mask(mask, shape).to_dense(), expected_blocks(shape, 2, sees));
}

TEST(BlockMask, SparsityAndPicture) {
  const Program mask = mask_program("q >= kv");
  const BlockMask blocks = create_block_mask(
      BoundProgram{&mask}, {.q_len = 500, .k_len = 500, .block_q = 125, .block_k = 125});
  EXPECT_EQ(blocks.picture(), "+...\n#+..\n##+.\n###+\n");
  EXPECT_EQ(blocks.picture(0, 0, 2), "+.\n#+\n");
  EXPECT_DOUBLE_EQ(blocks.sparsity(), 6.0 / 16.0);
  EXPECT_EQ(blocks.num_listed_blocks(), 10);
  EXPECT_EQ(blocks.num_full_blocks(), 6);
  EXPECT_EQ(blocks.view().stride_head, 0);
  EXPECT_THROW(blocks.picture(1, 0), Error);
}

TEST(BlockMask, PictureOfTheDocumentation) {
  const Program mask = mask_program("q >= kv && q - kv < 300");
  EXPECT_EQ(create_block_mask(BoundProgram{&mask}, {.q_len = 1024, .k_len = 1024}).picture(),
            "+.......\n#+......\n+#+.....\n++#+....\n.++#+...\n..++#+..\n...++#+.\n....++#+\n");
}

TEST(BlockMask, OfAMillionTokens_TakesNoTimeAndNoMemory) {
  // 67 million blocks of which 24,573 are listed; pairs would be 10^12.
  const Program mask = mask_program("q >= kv && q - kv < 256");
  const BlockMask blocks =
      create_block_mask(BoundProgram{&mask}, {.q_len = 1 << 20, .k_len = 1 << 20});
  EXPECT_EQ(blocks.num_listed_blocks(), 3 * 8192 - 3);
  EXPECT_EQ(blocks.num_full_blocks(), 8192 - 1);
}

TEST(BlockMask, BadShapes_AreRefused) {
  const Program mask = mask_program("q >= kv");
  const auto fault = [&](const BlockMaskShape& shape) -> std::string {
    try {
      create_block_mask(BoundProgram{&mask}, shape);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(fault({.q_len = 0, .k_len = 9}), "");
  EXPECT_THAT(fault({.q_len = -1, .k_len = 9}), HasSubstr("q_len -1: must be from 0"));
  EXPECT_THAT(fault({.q_len = 9, .k_len = 9, .block_k = 0}), HasSubstr("block_k 0"));
  EXPECT_THAT(fault({.heads = 0, .q_len = 9, .k_len = 9}), HasSubstr("heads 0"));
  const int32_t offsets[3] = {0, 7, 5};
  EXPECT_THAT(fault({.q_len = 5, .k_len = 5, .documents = {offsets, offsets, 2}}),
              HasSubstr("falls from 7 to 5"));
  EXPECT_THROW(create_block_mask(BoundProgram{}, {.q_len = 5, .k_len = 5}), Error);
  const Program divides = mask_program("q % kv == 0");
  EXPECT_THROW(create_block_mask(BoundProgram{&divides}, {.q_len = 5, .k_len = 5}), Error);
}

}  // namespace
}  // namespace regard
