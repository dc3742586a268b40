#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "regard/attention.h"
#include "regard/error.h"
#include "regard/modules.h"

namespace regard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

View view_of(int64_t seq, int64_t dim) {
  return {.batch = 1,
          .seq = seq,
          .heads = 2,
          .dim = dim,
          .stride_batch = seq * 2 * dim,
          .stride_seq = 2 * dim,
          .stride_head = dim};
}

// Sq 3 over Sk 5; 8 over 8 for s2, which knows nothing else.
Problem lowered(Module module, const AttentionOptions& options, int64_t dim = 16) {
  const int64_t sq = module == Module::s2 ? 8 : 3, sk = module == Module::s2 ? 8 : 5;
  return lower(module, view_of(sq, dim), view_of(sk, dim), view_of(sk, dim), options);
}

std::string refusal(Module module, const AttentionOptions& options, ErrorCode code,
                    int64_t dim = 16) {
  try {
    lowered(module, options, dim);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "";
}

TEST(Lower, CausalAlignment_IsTheModulesOwn) {
  for (const Module module :
       {Module::sdpa, Module::eager, Module::flex_attention, Module::xformers}) {
    EXPECT_EQ(lowered(module, {}).causal, Causal::upper_left);
  }
  for (const Module module : {Module::flash_attention_2, Module::flash_attention_3}) {
    EXPECT_EQ(lowered(module, {}).causal, Causal::lower_right);
    EXPECT_EQ(lowered(module, {.is_causal = false}).causal, Causal::none);
  }
}

TEST(Lower, FlexWithAMaskOfItsOwn_IsNotCausalByDefault) {
  const int32_t row_offsets = 0;
  const Program* const program = reinterpret_cast<const Program*>(&row_offsets);  // not looked into
  AttentionOptions with_block_mask, with_program;
  with_block_mask.block_mask.row_offsets = &row_offsets;
  with_program.mask_program.program = program;
  EXPECT_EQ(lowered(Module::flex_attention, {}).causal, Causal::upper_left);
  EXPECT_EQ(lowered(Module::flex_attention, with_block_mask).causal, Causal::none);
  EXPECT_EQ(lowered(Module::flex_attention, with_program).causal, Causal::none);
  EXPECT_EQ(lowered(Module::eager, with_block_mask).causal, Causal::upper_left);
}

TEST(Lower, Scale_DefaultsToTheRootOfTheQueryHeadSize) {
  EXPECT_FLOAT_EQ(lowered(Module::sdpa, {}).scale, 0.25f);
  EXPECT_FLOAT_EQ(lowered(Module::sdpa, {.scale = -2.0f}).scale, -2.0f);
}

TEST(Lower, EveryOption_ReachesTheProblem) {
  const int32_t offsets[] = {0, 3};
  const uint8_t mask = 1;
  const float slope = 0.5f, bias = 0.0f;
  AttentionOptions options{.is_causal = false};
  options.window = {4, 2};
  options.documents = {offsets, offsets, 1};
  options.mask = {&mask, 1, 2, 3, 4};
  options.bias = {&bias, DType::f32, 5, 6, 7, 8};
  options.alibi = {&slope, 9};
  options.softcap = 30.0f;
  options.dropout = {0.1f, 11};
  const Problem problem = lowered(Module::sdpa, options);
  EXPECT_EQ(problem.window.left, 4);
  EXPECT_EQ(problem.window.right, 2);
  EXPECT_EQ(problem.documents.q_offsets, offsets);
  EXPECT_EQ(problem.mask.stride_k, 4);
  EXPECT_EQ(problem.bias.stride_head, 6);
  EXPECT_EQ(problem.alibi.stride_batch, 9);
  EXPECT_EQ(problem.softcap, 30.0f);
  EXPECT_EQ(problem.dropout.seed, 11u);
  EXPECT_EQ(problem.k.seq, 5);
}

TEST(Lower, SdpaWithMaskAndCausal_IsRefused) {
  const uint8_t mask = 1;
  const float bias = 0;
  AttentionOptions with_mask, with_bias;
  with_mask.mask.data = &mask;
  with_bias.bias.data = &bias;
  for (const AttentionOptions& options : {with_mask, with_bias}) {
    EXPECT_THAT(refusal(Module::sdpa, options, ErrorCode::invalid_argument),
                HasSubstr("is_causal"));
    EXPECT_EQ(refusal(Module::eager, options, ErrorCode::invalid_argument), "");
  }
}

TEST(Lower, FlashWithSoftcapAndDropout_IsRefused) {
  AttentionOptions both;
  both.softcap = 20.0f;
  both.dropout.probability = 0.1f;
  EXPECT_THAT(refusal(Module::flash_attention_2, both, ErrorCode::invalid_argument),
              HasSubstr("softcap 20"));
}

// One row an option: who knows it. The others name it and a module to use.
struct OptionCase {
  const char* words;
  void (*set)(AttentionOptions&);
  std::vector<Module> known_by;
};

const uint8_t kByte = 1;
const float kFloat = 0.5f;
const int32_t kOffsets[] = {0, 0};

const std::vector<OptionCase> kOptionCases = {
    {"boolean mask", [](AttentionOptions& o) { o.mask.data = &kByte; }, {Module::sdpa}},
    {"bias tensor",
     [](AttentionOptions& o) { o.bias.data = &kFloat; },
     {Module::sdpa, Module::xformers}},
    {"ALiBi",
     [](AttentionOptions& o) { o.alibi.slopes = &kFloat; },
     {Module::sdpa, Module::flash_attention_2}},
    {"softcap",
     [](AttentionOptions& o) { o.softcap = 30.0f; },
     {Module::sdpa, Module::flash_attention_2, Module::flash_attention_3, Module::flex_attention}},
    {"sink",
     [](AttentionOptions& o) { o.sink.logits = &kFloat; },
     {Module::sdpa, Module::flash_attention_2, Module::flash_attention_3, Module::flex_attention}},
    {"dropout",
     [](AttentionOptions& o) { o.dropout.probability = 0.5f; },
     {Module::sdpa, Module::flash_attention_2, Module::xformers, Module::s2}},
    {"block mask",
     [](AttentionOptions& o) { o.block_mask.row_offsets = kOffsets; },
     {Module::flex_attention}},
    {"score program",
     [](AttentionOptions& o) {
       o.score_program.program = reinterpret_cast<const Program*>(kOffsets);
     },
     {Module::flex_attention}},
    {"mask program",
     [](AttentionOptions& o) {
       o.mask_program.program = reinterpret_cast<const Program*>(kOffsets);
     },
     {Module::flex_attention}},
    {"window",
     [](AttentionOptions& o) { o.window.left = 3; },
     {Module::sdpa, Module::flash_attention_2, Module::flash_attention_3, Module::flex_attention,
      Module::xformers, Module::sage}},
    {"row length for s2", [](AttentionOptions& o) { o.s2_row_length = 8; }, {Module::s2}},
};

TEST(Lower, OptionsAModuleDoesNotKnow_AreRefusedByName) {
  for (const OptionCase& option : kOptionCases) {
    for (const ModuleInfo& info : modules()) {
      if (info.module == Module::eager) {
        continue;  // eager knows what any module knows, programs excepted
      }
      SCOPED_TRACE(std::string(info.name) + ", " + option.words);
      AttentionOptions options{.is_causal = info.module == Module::s2};
      option.set(options);
      const std::string text = refusal(info.module, options, ErrorCode::invalid_argument);
      if (std::count(option.known_by.begin(), option.known_by.end(), info.module) == 1) {
        EXPECT_EQ(text, "");
      } else {
        EXPECT_THAT(text, AllOf(HasSubstr(info.name), HasSubstr(option.words), HasSubstr("use ")));
      }
    }
  }
}

// Materialised scores are the yardstick of numbers, not of programs: cpu_eager computes none.
TEST(Lower, EagerWithAProgram_IsRefused) {
  AttentionOptions with_score, with_mask;
  with_score.score_program.program = reinterpret_cast<const Program*>(kOffsets);
  with_mask.mask_program.program = reinterpret_cast<const Program*>(kOffsets);
  for (const AttentionOptions& options : {with_score, with_mask}) {
    EXPECT_THAT(refusal(Module::eager, options, ErrorCode::invalid_argument),
                AllOf(HasSubstr("program"), HasSubstr("use flex_attention")));
  }
}

TEST(Lower, FlashWithALargeHead_IsUnsupported) {
  EXPECT_THAT(refusal(Module::flash_attention_2, {}, ErrorCode::unsupported, 257),
              HasSubstr("head_dim 257"));
  EXPECT_EQ(refusal(Module::sdpa, {}, ErrorCode::unsupported, 257), "");
}

TEST(BackendOf, Modules_HaveTheirOwn) {
  for (const ModuleInfo& info : modules()) {
    if (info.module != Module::eager && info.module != Module::sage) {
      EXPECT_EQ(backend_of(info.module), Backend::cpu_tiled) << info.name;
    }
  }
  EXPECT_EQ(backend_of(Module::eager), Backend::cpu_eager);
}

TEST(BackendOf, FewQueryRowsOfAnExactModule_AreDecoded) {
  const auto rows_of = [](int64_t rows) {
    Problem problem;
    problem.q = view_of(rows, 16);
    problem.k = problem.v = view_of(rows, 16);
    std::vector<float> memory(static_cast<size_t>(rows) * 16);
    problem.q.data = problem.k.data = problem.v.data = memory.data();
    return backend_of(Module::sdpa, problem);
  };
  EXPECT_EQ(rows_of(1), Backend::cpu_decode);
  EXPECT_EQ(rows_of(32), Backend::cpu_decode);
  EXPECT_EQ(rows_of(33), Backend::cpu_tiled);
  Problem empty;
  empty.q = empty.k = empty.v = view_of(0, 16);
  EXPECT_EQ(backend_of(Module::eager, empty), Backend::cpu_eager);
  EXPECT_EQ(backend_of(Module::sage, empty), Backend::cpu_sage);
}

}  // namespace
}  // namespace regard
