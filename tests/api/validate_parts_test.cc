// Refusals of what modules add to a Problem: lengths, pages, chunks, block masks, formats, and the
// optional gradients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "regard/attention.h"
#include "regard/program.h"
#include "tests/api/validate_fixture.h"

namespace regard {
namespace {

// Two documents of a row of 4: queries 0..1 and 3, keys 0..1 and 2..3.
struct Pieces {
  int32_t q_starts[2] = {0, 3}, q_lengths[2] = {2, 1};
  int32_t k_starts[2] = {0, 2}, k_lengths[2] = {2, 2};
  void put_into(Call& c) { c.problem.documents = {q_starts, k_starts, 2, q_lengths, k_lengths}; }
};

TEST(Validate, DocumentLengths_MustLieInsideTheRow) {
  Pieces pieces;
  const auto spoilt = [&pieces](const auto& spoil) {
    return [&pieces, spoil](Call& c) {
      pieces = {};
      spoil(pieces);
      pieces.put_into(c);
    };
  };
  expect_forward_refusals({
      {"document 1 owns rows 3 to 5 of q: must lie inside the sequence length 4",
       spoilt([](Pieces& p) { p.q_lengths[1] = 2; })},
      {"document 0 owns rows -1 to 1 of k", spoilt([](Pieces& p) { p.k_starts[0] = -1; })},
      {"documents.k_lengths[1] is -1: must be 0 or more",
       spoilt([](Pieces& p) { p.k_lengths[1] = -1; })},
      {"documents 0 and 1 both own row 1 of q: a query belongs to one document",
       spoilt([](Pieces& p) { p.q_starts[1] = 1; })},
      {"document lengths with documents.count 0",
       [&](Call& c) { c.problem.documents.k_lengths = pieces.k_lengths; }},
      {"documents.k_offsets is null: 2 documents need 2 starts",
       [&](Call& c) {
         pieces = {};
         pieces.put_into(c);
         c.problem.documents.k_offsets = nullptr;
       }},
  });
  expect_backward_refusals({
      {"documents 0 and 1 both own row 1 of k: shared keys have a forward only",
       spoilt([](Pieces& p) { p.k_starts[1] = 1; })},
  });
}

TEST(Validate, Pages_MustBeInTheTable) {
  static int32_t table[] = {0}, lengths[] = {4}, starts[] = {0};
  const auto paged = [](const auto& spoil) {
    return [spoil](Call& c) {
      table[0] = 0;
      lengths[0] = 4;
      starts[0] = 0;
      c.problem.pages = {table, 1, lengths, starts};
      spoil(c);
    };
  };
  expect_forward_refusals({
      {"pages.lengths is null", paged([](Call& c) { c.problem.pages.lengths = nullptr; })},
      {"pages.table[0][0] is 1: must be from 0 to 0", paged([](Call&) { table[0] = 1; })},
      {"pages.table[0][0] is -1", paged([](Call&) { table[0] = -1; })},
      {"pages.lengths[0] is -2: must be 0 or more", paged([](Call&) { lengths[0] = -2; })},
      {"pages.starts[0] is -1: must be 0 or more", paged([](Call&) { starts[0] = -1; })},
      {"pages.stride -1", paged([](Call& c) { c.problem.pages.stride = -1; })},
      {"k.seq is the page size and must be 1 or more",
       paged([](Call& c) { c.problem.k.seq = c.problem.v.seq = 0; })},
      {"documents.k_offsets or k_lengths together with pages", paged([](Call& c) {
         c.problem.documents = {c.offsets, c.offsets, 1};
         c.offsets[1] = 4;
       })},
      {"pages.lengths or pages.starts without pages.table",
       paged([](Call& c) { c.problem.pages.table = nullptr; })},
  });
  static int32_t two_rows[] = {0, 0}, two_lengths[] = {4, 9};
  expect_forward_refusals(
      {{"pages.lengths[1] is 9: 3 pages of 4 rows, but a table row has "
        "pages.stride 1 entries",
        [](Call& c) {
          c.problem.documents = {c.offsets, nullptr, 2};
          c.problem.pages = {two_rows, 1, two_lengths};
        }}});
  expect_backward_refusals({{"pages in a backward", paged([](Call&) {})}});
}

TEST(Validate, Chunks_MustHaveASize) {
  expect_forward_refusals({
      {"chunks.size -4", [](Call& c) { c.problem.chunks.size = -4; }},
      {"chunks.size 9223372036854775807: must be from 0 to 2147483647",
       [](Call& c) { c.problem.chunks.size = std::numeric_limits<int64_t>::max(); }},
      {"chunks.shift 3: must be from 0 to chunks.size 2",
       [](Call& c) { c.problem.chunks = {.size = 2, .shift = 3}; }},
      {"chunks.shift 1: must be from 0 to chunks.size 0",
       [](Call& c) { c.problem.chunks.shift = 1; }},
      {"chunks.first_shifted_head -1",
       [](Call& c) { c.problem.chunks = {.size = 2, .shift = 1, .first_shifted_head = -1}; }},
  });
}

TEST(Validate, BlockMask_MustListBlocksOfTheRow) {
  static int32_t row_offsets[3], columns[3];
  const auto masked = [](const auto& spoil) {
    return [spoil](Call& c) {
      row_offsets[0] = 0;
      row_offsets[1] = 2;
      row_offsets[2] = 3;
      columns[0] = columns[2] = 0;
      columns[1] = 1;
      c.problem.block_mask = {.row_offsets = row_offsets,
                              .columns = columns,
                              .block_q = 2,
                              .block_k = 3,
                              .num_rows = 2};
      spoil(c.problem.block_mask);
    };
  };
  expect_forward_refusals({
      {"block_mask blocks of 0 queries by 3 keys",
       masked([](BlockMaskView& mask) { mask.block_q = 0; })},
      {"block_mask.num_rows 1: must be 2, the blocks of 2 in 4 queries",
       masked([](BlockMaskView& mask) { mask.num_rows = 1; })},
      {"block_mask.columns[1] is 2: must be from 0 to 1",
       masked([](BlockMaskView&) { columns[1] = 2; })},
      {"block_mask.columns[1] is 0: must be greater than the 0 before it",
       masked([](BlockMaskView&) { columns[1] = 0; })},
      {"block_mask.row_offsets[2] is 1: must not be less than the 2",
       masked([](BlockMaskView&) { row_offsets[2] = 1; })},
      {"block_mask.columns is null", masked([](BlockMaskView& mask) { mask.columns = nullptr; })},
      {"block_mask has a stride of -1", masked([](BlockMaskView& mask) { mask.stride_head = -1; })},
  });
}

TEST(Validate, Formats_MustFitEachOther) {
  static const float factor = 1.0f;
  const auto to_f8 = [](Call& c) {
    c.problem.q.dtype = c.problem.k.dtype = c.problem.v.dtype = DType::f8_e4m3;
  };
  expect_forward_refusals({
      {"descale factors with operands in f32", [](Call& c) { c.problem.descale.q = &factor; }},
      {"o is f8_e4m3",
       [&](Call& c) {
         to_f8(c);
         c.outputs.o.dtype = DType::f8_e4m3;
       }},
      {"descale.stride_batch -1",
       [&](Call& c) {
         to_f8(c);
         c.problem.descale = {.q = &factor, .stride_batch = -1};
       }},
      {"quantization of f8_e4m3 operands",
       [&](Call& c) {
         to_f8(c);
         c.problem.quantization.scores = ScoreFormat::int8;
       }},
      {"quantization.int8_backward with exact scores",
       [](Call& c) { c.problem.quantization.int8_backward = true; }},
      {"quantization.groups 7",
       [](Call& c) { c.problem.quantization.groups = static_cast<ScaleGroups>(7); }},
      {"quantization.values 9",
       [](Call& c) { c.problem.quantization.values = static_cast<ValueFormat>(9); }},
  });
  expect_backward_refusals({
      {"f8_e4m3 operands in a backward", to_f8},
      {"dk is f8_e4m3", [](Call& c) { c.tensors.dk.dtype = DType::f8_e4m3; }},
  });
}

TEST(Validate, OptionalGradients_NeedTheirTerm) {
  static float gradient[16] = {};
  static const float bias[16] = {};
  static const float slopes[2] = {};
  expect_backward_refusals({
      {"d_bias without a bias", [](Call& c) { c.tensors.d_bias.data = gradient; }},
      {"d_slopes without ALiBi slopes", [](Call& c) { c.tensors.d_slopes = gradient; }},
      {"d_sink without a sink", [](Call& c) { c.tensors.d_sink = gradient; }},
      {"d_bias.stride_q 0 where the bias has 4: must be 0 exactly where the bias is broadcast",
       [](Call& c) {
         c.problem.bias = {bias, DType::f32, 0, 0, 4, 1};
         c.tensors.d_bias = {gradient, 0, 0, 0, 1};
       }},
      {"d_bias.stride_head 16 where the bias has 0",
       [](Call& c) {
         c.problem.bias = {bias, DType::f32, 0, 0, 4, 1};
         c.tensors.d_bias = {gradient, 0, 16, 4, 1};
       }},
      {"d_bias overlaps itself",
       [](Call& c) {
         c.problem.bias = {bias, DType::f32, 0, 0, 4, 1};
         c.tensors.d_bias = {gradient, 0, 0, 3, 1};
       }},
      {"d_slopes.data is not aligned",
       [](Call& c) {
         c.problem.alibi.slopes = slopes;
         c.tensors.d_slopes = reinterpret_cast<float*>(reinterpret_cast<char*>(gradient) + 1);
       }},
  });
}

TEST(Validate, ProgramGradients_NeedF32Tensors) {
  static const Program program =
      score_program("score + real[h] + whole[h]", {{"real"}, {"whole", ElementType::integer}});
  static const float real[2] = {};
  static const int32_t whole[2] = {};
  static const ProgramTensor tensors[] = {
      {.data = real, .rank = 1, .shape = {2}, .stride = {1}},
      {.data = whole, .is_integer = true, .rank = 1, .shape = {2}, .stride = {1}}};
  static float gradient[2] = {};
  static float* const gradients[] = {gradient, gradient};
  expect_backward_refusals({
      {"d_tensors without a score program", [](Call& c) { c.tensors.d_tensors = gradients; }},
      {"d_tensors[1] of an integer tensor",
       [](Call& c) {
         c.problem.score_program = {&program, tensors, 2};
         c.tensors.d_tensors = gradients;
       }},
  });
}

// A Problem that only the reference computes is refused with every back end's reason.
TEST(AutomaticChoice, NoBackEndServes_NamesEachReason) {
  Call call;
  call.problem.quantization.scores = ScoreFormat::int8;
  const float logits[] = {0.5f, 0.5f};
  call.problem.sink.logits = logits;
  try {
    attention_backward(call.problem, call.tensors);
    ADD_FAILURE() << "int8 scores with a sink were served";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    const std::string message = error.what();
    EXPECT_THAT(message, ::testing::HasSubstr("cpu_decode: has a forward only"));
    EXPECT_THAT(message, ::testing::HasSubstr("cpu_tiled: int8 scores"));
    EXPECT_THAT(message, ::testing::HasSubstr("cpu_sage: a sink"));
    EXPECT_THAT(message, ::testing::HasSubstr("reference"));
  }
  EXPECT_THAT(why_unsupported(Backend::automatic, call.problem),
              ::testing::HasSubstr("cpu_decode: int8 scores"));
  EXPECT_EQ(why_unsupported(Backend::automatic, Call().problem), "");
}

}  // namespace
}  // namespace regard
