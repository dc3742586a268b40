// Programs of flex_attention inside a model: what they compute, their trained tensors, decoding.
#include "tune/model/flex_programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/tune/model/model_fixture.h"
#include "tune/error.h"
#include "tune/files/safetensors.h"
#include "tune/model/language_model.h"

namespace tune {
namespace {

using ::testing::HasSubstr;

TEST(AlibiSlopes, PowerOfTwo_AreTheGeometricSequence) {
  const std::vector<float> slopes = alibi_slopes(8);
  ASSERT_EQ(slopes.size(), 8u);
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(slopes[static_cast<size_t>(i)], std::exp2(-1.0f - i));
}

TEST(AlibiSlopes, OtherCounts_TakeEveryOtherOfTheDouble) {
  const std::vector<float> slopes = alibi_slopes(6);
  ASSERT_EQ(slopes.size(), 6u);
  EXPECT_FLOAT_EQ(slopes[3], std::exp2(-8.0f));
  EXPECT_FLOAT_EQ(slopes[4], std::exp2(-1.0f));
  EXPECT_FLOAT_EQ(slopes[5], std::exp2(-3.0f));
}

ModelOptions flex_options(const std::string& score, const std::string& mask) {
  ModelOptions options;
  options.attention = regard::Module::flex_attention;
  options.flex.score_mod = score;
  options.flex.mask_mod = mask;
  return options;
}

double loss_of(LanguageModel& model, const Batch& batch) {
  return model.loss_sum(batch).item<double>();
}

std::string refusal_of(const FlexOptions& options) {
  try {
    FlexPrograms programs(options, 4);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(FlexPrograms, MaskWithoutLaterKeys_IsTheCausalModel) {
  const Batch batch = packed_row({some_ids(40, 1), some_ids(9, 2)});
  const auto plain = LanguageModel::random(tiny_config(), {});
  const auto flex = LanguageModel::random(tiny_config(), flex_options("score", "q >= kv"));
  EXPECT_NEAR(loss_of(*flex, batch), loss_of(*plain, batch), 1e-4);
}

TEST(FlexPrograms, WindowProgram_IsTheSlidingWindowOfMistral) {
  ModelConfig config = tiny_config();
  config.architecture = Architecture::mistral;
  config.sliding_window = 7;
  const Batch batch = packed_row({some_ids(40, 1), some_ids(9, 2)});
  const auto mistral = LanguageModel::random(config, {});
  const auto flex = LanguageModel::random(tiny_config(), flex_options("", "q >= kv && q - kv < 7"));
  EXPECT_NEAR(loss_of(*flex, batch), loss_of(*mistral, batch), 1e-4);
}

TEST(FlexPrograms, PackedDocuments_MeanWhatSeparateRowsMean) {
  const ModelOptions options =
      flex_options("score - 0.1 * q + 0.01 * kv * kv", "q >= kv || kv < 3 && doc[q] == doc[kv]");
  const auto model = LanguageModel::random(tiny_config(), options);
  const auto first = some_ids(21, 3), second = some_ids(30, 4);
  const double apart = loss_of(*model, packed_row({first})) + loss_of(*model, packed_row({second}));
  EXPECT_NEAR(loss_of(*model, packed_row({first, second})), apart, 1e-4 * apart);
}

TEST(FlexPrograms, TrainedSlopes_HaveTheGradientOfFiniteDifferences) {
  ModelOptions options = flex_options("score + slopes[h] * (kv - q)", "");
  options.flex.tensors = {{"slopes", "alibi", true}};
  const auto model = LanguageModel::random(tiny_config(), options);
  const Batch batch = packed_row({some_ids(25, 5), some_ids(14, 6)});
  const auto found = gradients(*model, batch);
  const auto parameters = model->trainable_parameters();
  const TrainableParameter& slopes = parameters.back();
  ASSERT_EQ(slopes.name, "flex_tensors.slopes");
  for (int64_t h = 0; h < 4; ++h) {
    const auto loss_at = [&](double step) {
      torch::Tensor values = slopes.tensor.detach();
      values[h] += step;
      const double loss = loss_of(*model, batch);
      values[h] -= step;
      return loss;
    };
    const double expected = (loss_at(5e-3) - loss_at(-5e-3)) / 1e-2;
    EXPECT_NEAR(found.back()[h].item<double>(), expected, 0.01 * std::abs(expected) + 0.02) << h;
  }
}

TEST(FlexPrograms, TrainedTensors_AreSavedAndComeBack) {
  const std::string folder = ::testing::TempDir() + "flex_tensors_" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  FlexOptions options{"score + slopes[h]", "", {{"slopes", "alibi", true}}};
  FlexPrograms programs(options, 4);
  programs.parameters()[0].master.detach().fill_(0.25f);
  programs.save(folder);
  options.tensors[0].from = folder + "/" + kFlexTensorsFile + "#slopes";
  FlexPrograms again(options, 4);
  EXPECT_TRUE(torch::equal(again.parameters()[0].master.detach(), torch::full({4}, 0.25f)));
  std::filesystem::remove_all(folder);
}

TEST(FlexPrograms, Cache_GivesTheLogitsOfTheWholeSequence) {
  ModelOptions options = flex_options("score + slopes[h] * (kv - q)", "q >= kv && q - kv < 9");
  options.flex.tensors = {{"slopes", "alibi", false}};
  const auto model = LanguageModel::random(tiny_config(), options);
  const auto ids = some_ids(30, 8);
  const torch::Tensor expected = model->logits(packed_row({ids}))[0];
  const auto cache = model->new_cache(30);
  const std::span<const int32_t> all(ids);
  EXPECT_LT(largest_difference(model->next_logits(all.first(12), *cache), expected[11]), 1e-4);
  for (size_t i = 12; i < 30; ++i) {
    const torch::Tensor next = model->next_logits(all.subspan(i, 1), *cache);
    EXPECT_LT(largest_difference(next, expected[static_cast<int64_t>(i)]), 1e-4) << i;
  }
}

TEST(FlexPrograms, BadTextsAndTensors_AreRefusedWithTheirKey) {
  EXPECT_THAT(refusal_of({"score +", "", {}}), HasSubstr("flex_score_mod, character 8"));
  EXPECT_THAT(refusal_of({"", "score > 0", {}}), HasSubstr("flex_mask_mod"));
  EXPECT_THAT(refusal_of({"score + t[h]", "", {{"t", "not-there.safetensors#t", false}}}),
              ::testing::Not(""));
  EXPECT_THAT(refusal_of({"score", "", {{"t", "alibi", true}}}), HasSubstr("no gradient"));
}

TEST(ShiftedSparse, Training_CutsRowsAndInferenceDoesNot) {
  ModelOptions options;
  options.attention = regard::Module::s2;
  options.sequence_len = 32;
  const Batch batch = packed_row({some_ids(32, 5)});
  const auto dense = LanguageModel::random(tiny_config(), {});
  const auto sparse = LanguageModel::random(tiny_config(), options);
  const double expected = loss_of(*dense, batch);
  sparse->set_training(false, 0);
  EXPECT_NEAR(loss_of(*sparse, batch), expected, 1e-4);
  sparse->set_training(true, 0);
  EXPECT_GT(std::abs(loss_of(*sparse, batch) - expected), 1e-3);
}

}  // namespace
}  // namespace tune
