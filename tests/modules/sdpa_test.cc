// scaled_dot_product_attention: PyTorch's rules, and every broadcast mask against the same mask
// written out in full.
#include "regard/sdpa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "reference/attention.h"
#include "regard/error.h"
#include "tests/modules/sdpa_fixture.h"

namespace regard::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<MaskShape> kMaskShapes = {
    {"bool_full", true, {kBatch, kHeads, kQueries, kKeys}},
    {"bool_batch_key", true, {kBatch, 1, 1, kKeys}},
    {"bool_2d", true, {kQueries, kKeys}},
    {"bool_key", true, {kKeys}},
    {"float_full", false, {kBatch, kHeads, kQueries, kKeys}},
    {"float_head", false, {1, kHeads, kQueries, kKeys}},
    {"float_3d", false, {kHeads, kQueries, 1}},
    {"float_batch_key", false, {kBatch, 1, 1, kKeys}},
    {"float_one", false, {1}},
};

class SdpaModule : public ::testing::TestWithParam<Module> {};

INSTANTIATE_TEST_SUITE_P(Both, SdpaModule, ::testing::Values(Module::sdpa, Module::eager),
                         [](const auto& param) {
                           return std::string(module_info(param.param).name);
                         });

TEST_P(SdpaModule, BroadcastMasks_MeanWhatTheyMeanInFull) {
  for (const MaskShape& form : kMaskShapes) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      SCOPED_TRACE(form.name);
      const MaskMemory mask(form, 17);
      const std::vector<float> full = mask.in_full();
      const AttentionJudge judge(sdpa_case(dtype, full));
      AttentionResults results(judge.config(), judge.operands());
      run_sdpa({.attn_mask = mask.view, .module = GetParam()}, judge, results);
      judge.expect_right(results);
    }
  }
}

TEST_P(SdpaModule, MaskGradient_IsTheSumOverBroadcastAxes) {
  for (const MaskShape& form : kMaskShapes) {
    if (form.is_boolean) {
      continue;
    }
    SCOPED_TRACE(form.name);
    const MaskMemory mask(form, 18);
    const std::vector<float> full = mask.in_full();
    const AttentionJudge judge(sdpa_case(DType::f32, full));
    // By the reference, for every score; then summed as the mask broadcasts.
    AttentionResults exact(judge.operands());
    std::vector<float> every(full.size());
    reference::forward(judge.problem(), exact.outputs());
    BackwardTensors tensors = exact.tensors(judge.operands());
    tensors.d_bias = {every.data(), kHeads * kQueries * kKeys, kQueries * kKeys, kKeys, 1};
    reference::backward(judge.problem(), tensors);
    std::vector<double> expected(mask.floats.size());
    for (size_t i = 0; i < every.size(); ++i) {
      int64_t rest = static_cast<int64_t>(i), at = 0, stride = 1;
      const int64_t extents[] = {kBatch, kHeads, kQueries, kKeys};
      for (size_t axis = 4; axis-- > 0;) {
        const int64_t index = rest % extents[axis];
        rest /= extents[axis];
        if (axis + mask.shape.size() >= 4) {
          const int64_t extent = mask.shape[axis + mask.shape.size() - 4];
          at += extent == 1 ? 0 : index * stride;
          stride *= extent;
        }
      }
      expected[static_cast<size_t>(at)] += double{every[i]};
    }
    AttentionResults results(judge.config(), judge.operands());
    std::vector<float> got(mask.floats.size(), NAN);
    run_sdpa({.attn_mask = mask.view, .module = GetParam()}, judge, results, got.data());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], 2e-5) << i;
    }
  }
}

TEST_P(SdpaModule, Causal_IsUpperLeftAlsoOverMoreKeys) {
  std::vector<float> full;
  for (int64_t i = 0; i < kBatch * kHeads * kQueries * kKeys; ++i) {
    full.push_back(i % kKeys <= i / kKeys % kQueries ? 0.0f : -kInfinity);
  }
  const AttentionJudge judge(sdpa_case(DType::f32, full));
  AttentionResults results(judge.config(), judge.operands());
  run_sdpa({.is_causal = true, .module = GetParam()}, judge, results);
  judge.expect_right(results);
}

TEST_P(SdpaModule, Scale_MayBeNegativeOrZero) {
  for (const float scale : {-0.7f, 0.0f}) {
    AttentionCase config = sdpa_case(DType::f32, {});
    config.change = [scale](Problem& problem) {
      problem.scale = scale == 0.0f ? 1e-30f : scale;  // 0 would be the default there
    };
    const AttentionJudge judge(config);
    AttentionResults results(judge.config(), judge.operands());
    run_sdpa({.scale = scale, .module = GetParam()}, judge, results);
    judge.expect_right(results);
  }
}

TEST_P(SdpaModule, MaskedRows_GiveZeroAndFiniteMinimaAverage) {
  float q[2] = {1, 2}, k[3] = {1, 2, 3}, v[3] = {1, 2, 6}, o[2];
  const uint8_t none[3] = {0, 0, 0};
  const float lowest[3] = {std::numeric_limits<float>::lowest(),
                           std::numeric_limits<float>::lowest(),
                           std::numeric_limits<float>::lowest()};
  const auto tensor = [](float* data, int64_t seq) {
    return SdpaTensor{.data = data, .shape = {1, 1, seq, 1}, .stride = {seq, seq, 1, 1}};
  };
  SdpaArguments arguments{.query = tensor(q, 2), .key = tensor(k, 3), .value = tensor(v, 3)};
  arguments.module = GetParam();
  arguments.attn_mask = {.data = none, .is_boolean = true, .rank = 1, .shape = {3}, .stride = {1}};
  scaled_dot_product_attention(arguments, tensor(o, 2));
  EXPECT_THAT(o, Each(0.0f));
  arguments.attn_mask = {.data = lowest, .rank = 1, .shape = {3}, .stride = {1}};
  scaled_dot_product_attention(arguments, tensor(o, 2));
  EXPECT_THAT(o, Each(3.0f));
}

// [2, 4, 3, 8] over [2, 4, 5, 8], nothing in memory: refusals come first.
SdpaArguments small() {
  const auto tensor = [](int64_t seq) {
    return SdpaTensor{.shape = {2, 4, seq, 8}, .stride = {seq * 32, seq * 8, 8, 1}};
  };
  return {.query = tensor(3), .key = tensor(5), .value = tensor(5)};
}

std::string refusal(const SdpaArguments& arguments) {
  try {
    scaled_dot_product_attention(arguments, arguments.query);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

TEST(SdpaRefusals, MaskWithCausal_IsAnError) {
  const uint8_t mask[5] = {};
  SdpaArguments arguments = small();
  arguments.is_causal = true;
  arguments.attn_mask = {.data = mask, .is_boolean = true, .rank = 1, .shape = {5}, .stride = {1}};
  EXPECT_THAT(refusal(arguments), HasSubstr("is_causal"));
}

TEST(SdpaRefusals, UnequalHeads_NeedEnableGqa) {
  SdpaArguments arguments = small();
  arguments.key.shape[1] = arguments.value.shape[1] = 2;
  EXPECT_THAT(refusal(arguments), HasSubstr("4 heads and key 2: set enable_gqa"));
  arguments.enable_gqa = true;
  arguments.key.shape[1] = arguments.value.shape[1] = 3;
  EXPECT_THAT(refusal(arguments), HasSubstr("multiple of the 3 of key"));
}

TEST(SdpaRefusals, MaskOfAnotherDtypeOrShape_IsNamed) {
  const float mask[15] = {};
  SdpaArguments arguments = small();
  arguments.attn_mask = {
      .data = mask, .dtype = DType::bf16, .rank = 2, .shape = {3, 5}, .stride = {5, 1}};
  EXPECT_THAT(refusal(arguments), HasSubstr("attn_mask is bf16"));
  arguments.attn_mask.dtype = DType::f32;
  arguments.attn_mask.shape[0] = 2;
  EXPECT_THAT(refusal(arguments), HasSubstr("[2, 5]: must broadcast to [2, 4, 3, 5]"));
  arguments.attn_mask.rank = 5;
  EXPECT_THAT(refusal(arguments), HasSubstr("5 axes"));
}

TEST(SdpaRefusals, AxesAndProbabilities_AreNamed) {
  const float mask[60] = {};
  SdpaArguments arguments = small();
  arguments.key.rank = 3;
  EXPECT_THAT(refusal(arguments), HasSubstr("key has 3 axes and query 4"));
  arguments.query.rank = 1;
  EXPECT_THAT(refusal(arguments), HasSubstr("query has 1 axes: must have 2 to 4"));
  arguments = small();
  for (SdpaTensor* tensor : {&arguments.query, &arguments.key, &arguments.value}) {
    tensor->rank = 3;
    std::copy(tensor->shape + 1, tensor->shape + 4, tensor->shape);
    std::copy(tensor->stride + 1, tensor->stride + 4, tensor->stride);
  }
  arguments.attn_mask = {.data = mask, .rank = 4, .shape = {1, 4, 3, 5}, .stride = {60, 15, 5, 1}};
  EXPECT_THAT(refusal(arguments), HasSubstr("attn_mask has 4 axes: must have 1 to 3"));
  arguments.attn_mask = {.data = mask, .rank = 3, .shape = {3, 3, 5}, .stride = {15, 5, 1}};
  EXPECT_THAT(refusal(arguments), HasSubstr("[3, 3, 5]: must broadcast to [4, 3, 5]"));
  for (const float p : {-0.1f, 1.5f, std::numeric_limits<float>::quiet_NaN()}) {
    arguments = small();
    arguments.dropout_p = p;
    EXPECT_THAT(refusal(arguments), HasSubstr("must be from 0 to 1"));
  }
}

TEST(SdpaRefusals, StridesAndModules_AreNamed) {
  SdpaArguments arguments = small();
  arguments.key.stride[3] = 2;
  EXPECT_THAT(refusal(arguments), HasSubstr("key's last stride is 2"));
  arguments = small();
  arguments.module = Module::flash_attention_2;
  EXPECT_THAT(refusal(arguments), HasSubstr("must be sdpa or eager"));
}

TEST(SdpaRefusals, MaskGradientWithoutAFloatMask_IsAnError) {
  const SdpaArguments arguments = small();
  float gradient[1];
  try {
    scaled_dot_product_attention_backward(arguments, arguments.query, arguments.query, {},
                                          {.query = arguments.query,
                                           .key = arguments.key,
                                           .value = arguments.value,
                                           .attn_mask = gradient});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no float mask"));
  }
}

}  // namespace
}  // namespace regard::testing
