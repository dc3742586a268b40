#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regard/attention.h"
#include "regard/error.h"
#include "regard/modules.h"

namespace regard {
namespace {

using ::testing::HasSubstr;

View view_of(int64_t seq, int64_t dim) {
  return {.batch = 1,
          .seq = seq,
          .heads = 1,
          .dim = dim,
          .stride_batch = seq * dim,
          .stride_seq = dim,
          .stride_head = dim};
}

Problem lowered(Module module, const AttentionOptions& options, int64_t dim = 16) {
  return lower(module, view_of(3, dim), view_of(5, dim), view_of(5, dim), options);
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
  EXPECT_EQ(lowered(Module::sdpa, {}).causal, Causal::upper_left);
  EXPECT_EQ(lowered(Module::eager, {}).causal, Causal::upper_left);
  EXPECT_EQ(lowered(Module::flash_attention_2, {}).causal, Causal::lower_right);
  EXPECT_EQ(lowered(Module::flash_attention_2, {.is_causal = false}).causal, Causal::none);
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

TEST(Lower, FlashWithMaskBiasOrSoftcapAndDropout_IsRefused) {
  const uint8_t mask = 1;
  const float bias = 0;
  AttentionOptions with_mask{.is_causal = false}, with_bias{.is_causal = false}, both;
  with_mask.mask.data = &mask;
  with_bias.bias.data = &bias;
  both.softcap = 20.0f;
  both.dropout.probability = 0.1f;
  const auto text = [](const AttentionOptions& options) {
    return refusal(Module::flash_attention_2, options, ErrorCode::invalid_argument);
  };
  EXPECT_THAT(text(with_mask), HasSubstr("mask"));
  EXPECT_THAT(text(with_bias), HasSubstr("bias"));
  EXPECT_THAT(text(both), HasSubstr("softcap"));
}

TEST(Lower, FlashWithALargeHead_IsUnsupported) {
  EXPECT_THAT(refusal(Module::flash_attention_2, {}, ErrorCode::unsupported, 257),
              HasSubstr("head_dim 257"));
  EXPECT_EQ(refusal(Module::sdpa, {}, ErrorCode::unsupported, 257), "");
}

TEST(Lower, ModulesThatAreNotBuilt_SaySo) {
  for (const ModuleInfo& info : modules()) {
    if (!info.is_built) {
      EXPECT_THAT(refusal(info.module, {}, ErrorCode::unsupported), HasSubstr("not built yet"));
      EXPECT_THROW(backend_of(info.module), Error);
    }
  }
}

TEST(BackendOf, BuiltModules_HaveTheirOwn) {
  EXPECT_EQ(backend_of(Module::sdpa), Backend::cpu_tiled);
  EXPECT_EQ(backend_of(Module::flash_attention_2), Backend::cpu_tiled);
  EXPECT_EQ(backend_of(Module::eager), Backend::cpu_eager);
}

}  // namespace
}  // namespace regard
