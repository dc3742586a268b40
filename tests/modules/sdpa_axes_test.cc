// scaled_dot_product_attention over three and two axes, and a dropout of 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "reference/attention.h"
#include "tests/modules/sdpa_fixture.h"

namespace regard::testing {
namespace {

using ::testing::Each;

class SdpaAxes : public ::testing::TestWithParam<Module> {};

INSTANTIATE_TEST_SUITE_P(Both, SdpaAxes, ::testing::Values(Module::sdpa, Module::eager),
                         [](const auto& param) {
                           return std::string(module_info(param.param).name);
                         });

// Over fewer axes: the case of one batch row, and of one head.
AttentionCase case_of_rank(int32_t rank, DType dtype) {
  AttentionCase config = sdpa_case(dtype, {});
  config.batch = 1;
  if (rank == 2) {
    config.q_heads = config.kv_heads = 1;
  }
  return config;
}

// PyTorch's rule: the axis before L, E is that of the heads, for enable_gqa and for masks.
TEST_P(SdpaAxes, FewerAxes_AreHeadsOfOneBatchRow) {
  for (const int32_t rank : {2, 3}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const bool is_causal : {false, true}) {
        SCOPED_TRACE(rank);
        AttentionCase config = case_of_rank(rank, dtype);
        config.change = [is_causal](Problem& problem) {
          problem.causal = is_causal ? Causal::upper_left : Causal::none;
        };
        const AttentionJudge judge(config);
        AttentionResults results(judge.config(), judge.operands());
        run_sdpa({.is_causal = is_causal, .module = GetParam()}, judge, results, nullptr, rank);
        judge.expect_right(results);
      }
    }
  }
}

TEST_P(SdpaAxes, MasksOfFewerAxes_BroadcastToTheirScores) {
  struct Form {
    int32_t rank;
    std::vector<int64_t> shape;
  };
  const std::vector<Form> forms = {{3, {kHeads, kQueries, kKeys}}, {3, {kHeads, 1, kKeys}},
                                   {3, {1, kQueries, 1}},          {3, {kKeys}},
                                   {2, {kQueries, kKeys}},         {2, {1, kKeys}}};
  for (const Form& form : forms) {
    SCOPED_TRACE(::testing::PrintToString(form.shape));
    const MaskMemory mask({"float", false, form.shape}, 19);
    const std::vector<float> full = mask.in_full();  // of the first batch row, and the first head
    AttentionCase config = case_of_rank(form.rank, DType::f32);
    config.change = [&full](Problem& problem) { problem.bias = full_bias(full); };
    const AttentionJudge judge(config);
    AttentionResults results(judge.config(), judge.operands());
    const SdpaArguments arguments{.attn_mask = mask.view, .module = GetParam()};
    std::vector<float> d_mask(mask.floats.size(), NAN), d_mask_of_four(mask.floats.size());
    run_sdpa(arguments, judge, results, d_mask.data(), form.rank);
    judge.expect_right(results);
    run_sdpa(arguments, judge, results, d_mask_of_four.data());
    EXPECT_EQ(d_mask, d_mask_of_four);
  }
}

TEST_P(SdpaAxes, DropoutOfOne_GivesZerosAndNoGradients) {
  const MaskMemory mask({"float_head", false, {1, kHeads, kQueries, kKeys}}, 20);
  const std::vector<float> full = mask.in_full();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const AttentionJudge judge(sdpa_case(dtype, full));
    AttentionResults results(judge.config(), judge.operands());
    std::vector<float> d_mask(mask.floats.size(), NAN);
    run_sdpa({.attn_mask = mask.view, .dropout_p = 1.0f, .module = GetParam()}, judge, results,
             d_mask.data());
    for (const auto* tensor : {&results.o, &results.dq, &results.dk, &results.dv}) {
      EXPECT_THAT(tensor->dense(), Each(0.0f));
      EXPECT_TRUE(tensor->guards_intact());
    }
    EXPECT_THAT(d_mask, Each(0.0f));
    // The softmax itself drops nothing.
    AttentionResults exact(judge.operands());
    reference::forward(judge.problem(), exact.outputs());
    const std::vector<float> lse = results.lse.dense(), wanted = exact.lse.dense();
    for (size_t i = 0; i < lse.size(); ++i) {
      ASSERT_NEAR(lse[i], wanted[i], 2e-5) << i;
    }
  }
}

}  // namespace
}  // namespace regard::testing
