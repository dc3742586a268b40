#include "tune/model/language_model.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "tests/tune/model/model_fixture.h"
#include "tune/error.h"

namespace tune {
namespace {

TEST(LanguageModel, PackedDocuments_GiveTheLogitsOfEachAlone) {
  const auto model = LanguageModel::random(tiny_config(), {});
  const auto first = some_ids(11, 1), second = some_ids(1, 2), third = some_ids(70, 3);
  const torch::Tensor packed = model->logits(packed_row({first, second, third}))[0];
  EXPECT_LT(largest_difference(packed.narrow(0, 0, 11), model->logits(packed_row({first}))[0]),
            1e-4);
  EXPECT_LT(largest_difference(packed.narrow(0, 11, 1), model->logits(packed_row({second}))[0]),
            1e-4);
  EXPECT_LT(largest_difference(packed.narrow(0, 12, 70), model->logits(packed_row({third}))[0]),
            1e-4);
}

TEST(LanguageModel, ChangedToken_ChangesOnlyLaterLogitsOfItsDocument) {
  const auto model = LanguageModel::random(tiny_config(), {});
  Batch batch = packed_row({some_ids(20, 1), some_ids(30, 2), some_ids(9, 3)});
  const torch::Tensor before = model->logits(batch)[0];
  constexpr int64_t kChanged = 33, kDocumentEnd = 50;
  batch.input_ids[kChanged] = (batch.input_ids[kChanged] + 1) % 64;
  const torch::Tensor after = model->logits(batch)[0];
  EXPECT_TRUE(torch::equal(before.narrow(0, 0, kChanged), after.narrow(0, 0, kChanged)));
  EXPECT_TRUE(torch::equal(before.narrow(0, kDocumentEnd, 9), after.narrow(0, kDocumentEnd, 9)));
  for (int64_t i = kChanged; i < kDocumentEnd; ++i) {
    EXPECT_FALSE(torch::equal(before[i], after[i])) << i;
  }
}

TEST(LanguageModel, SameSeed_GivesTheSameBits) {
  const Batch batch = packed_row({some_ids(40, 5)});
  ModelOptions options = lora_options();
  options.lora_dropout = 0.3;
  std::vector<std::vector<torch::Tensor>> runs;
  for (int i = 0; i < 2; ++i) {
    const auto model = LanguageModel::random(tiny_config(), options);
    wake_adapter(*model);
    model->set_training(true, 17);
    runs.push_back(gradients(*model, batch));
  }
  for (size_t i = 0; i < runs[0].size(); ++i) EXPECT_TRUE(torch::equal(runs[0][i], runs[1][i]));
}

TEST(LanguageModel, Dropout_DependsOnSeedAndIsOffInEvaluation) {
  ModelOptions options = lora_options();
  const auto plain = LanguageModel::random(tiny_config(), options);
  options.lora_dropout = 0.5;
  const auto model = LanguageModel::random(tiny_config(), options);
  wake_adapter(*plain);
  wake_adapter(*model);
  const Batch batch = packed_row({some_ids(40, 5)});
  const auto loss = [&](bool is_training, uint64_t seed) {
    model->set_training(is_training, seed);
    return model->loss_sum(batch).item<double>();
  };
  EXPECT_NE(loss(true, 1), loss(true, 2));
  EXPECT_EQ(loss(true, 1), loss(true, 1));
  EXPECT_EQ(loss(false, 1), plain->loss_sum(batch).item<double>());
}

// Finite differences along one direction: catches a gradient that forgets a path.
TEST(LanguageModel, GradientsWithDropout_AgreeWithFiniteDifferences) {
  ModelOptions options = lora_options();
  options.lora_dropout = 0.4;
  const auto model = LanguageModel::random(tiny_config(), options);
  wake_adapter(*model);
  model->set_training(true, 3);
  const Batch batch = packed_row({some_ids(30, 5), some_ids(10, 6)});
  const auto found = gradients(*model, batch);
  auto parameters = model->trainable_parameters();
  double slope = 0.0;
  std::vector<torch::Tensor> direction;
  for (const auto& gradient : found) {
    direction.push_back(gradient / gradient.norm());
    slope += (gradient * direction.back()).sum().item<double>();
  }
  const auto loss_at = [&](double step) {
    const torch::NoGradGuard no_gradients;
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].tensor.add_(direction[i], step);
    model->parameters_changed();
    const double loss = model->loss_sum(batch).item<double>();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].tensor.sub_(direction[i], step);
    return loss;
  };
  constexpr double kStep = 1e-3;
  EXPECT_NEAR((loss_at(kStep) - loss_at(-kStep)) / (2 * kStep), slope, 0.01 * std::abs(slope));
}

TEST(LanguageModel, GradientCheckpointing_ChangesNoBit) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    ModelOptions options = lora_options();
    options.lora_dropout = 0.2;
    options.compute_dtype = dtype;
    const Batch batch = packed_row({some_ids(30, 5), some_ids(12, 6)});
    std::vector<std::vector<torch::Tensor>> runs;
    for (const bool recomputes : {false, true}) {
      options.gradient_checkpointing = recomputes;
      const auto model = LanguageModel::random(tiny_config(), options);
      wake_adapter(*model);
      model->set_training(true, 9);
      runs.push_back(gradients(*model, batch));
    }
    for (size_t i = 0; i < runs[0].size(); ++i) EXPECT_TRUE(torch::equal(runs[0][i], runs[1][i]));
  }
}

TEST(LanguageModel, FullTraining_GivesEveryParameterAGradient) {
  ModelConfig config = tiny_config();
  config.qk_norm = true;
  config.attention_bias = true;
  config.tie_word_embeddings = true;
  const auto model = LanguageModel::random(config, {});
  const auto found = gradients(*model, packed_row({some_ids(60, 5)}));
  const auto parameters = model->trainable_parameters();
  int64_t count = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    count += found[i].numel();
    // A key's bias shifts all scores of a query alike until RoPE turns it: small, yet not zero.
    EXPECT_GT(found[i].abs().max().item<double>(), 0.0) << parameters[i].name;
  }
  EXPECT_EQ(count, model->num_parameters());
}

TEST(LanguageModel, Bf16_StaysCloseToF32) {
  ModelOptions options = lora_options();
  const Batch batch = packed_row({some_ids(50, 5)});
  const auto exact = LanguageModel::random(tiny_config(), options);
  options.compute_dtype = torch::kBFloat16;
  const auto rounded = LanguageModel::random(tiny_config(), options);
  const double expected = exact->loss_sum(batch).item<double>();
  EXPECT_NEAR(rounded->loss_sum(batch).item<double>(), expected, 0.02 * expected);
}

TEST(LanguageModel, Cache_GivesTheLogitsOfTheWholeSequence) {
  ModelConfig config = tiny_config();
  config.architecture = Architecture::mistral;
  config.sliding_window = 7;
  for (const auto module : {regard::Module::sdpa, regard::Module::flash_attention_2}) {
    ModelOptions options;
    options.attention = module;
    const auto model = LanguageModel::random(config, options);
    const auto ids = some_ids(30, 8);
    const torch::Tensor expected = model->logits(packed_row({ids}))[0];
    const auto cache = model->new_cache(30);
    const std::span<const int32_t> all(ids);
    EXPECT_LT(largest_difference(model->next_logits(all.first(10), *cache), expected[9]), 1e-4);
    EXPECT_LT(largest_difference(model->next_logits(all.subspan(10, 5), *cache), expected[14]),
              1e-4);
    for (size_t i = 15; i < 30; ++i) {
      const torch::Tensor next = model->next_logits(all.subspan(i, 1), *cache);
      EXPECT_LT(largest_difference(next, expected[static_cast<int64_t>(i)]), 1e-4) << i;
    }
    EXPECT_THROW(model->next_logits(all.first(1), *cache), Error);
  }
}

TEST(LanguageModel, TokenOutsideTheVocabulary_IsRefusedWithItsValue) {
  const auto model = LanguageModel::random(tiny_config(), {});
  Batch batch = packed_row({some_ids(5, 1)});
  batch.input_ids[3] = 64;
  try {
    model->logits(batch);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("64"), std::string::npos);
  }
}

TEST(LanguageModel, UnknownTargetModule_ListsTheModelsModules) {
  ModelOptions options = lora_options();
  options.lora_target_linear = false;
  options.lora_target_modules = {"q_proj", "query"};
  try {
    LanguageModel::random(tiny_config(), options);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("'query'"), std::string::npos) << message;
    EXPECT_NE(message.find("down_proj, gate_proj, k_proj"), std::string::npos) << message;
  }
}

TEST(LanguageModel, TargetModules_AdaptOnlyTheNamedLayers) {
  ModelOptions options = lora_options();
  options.lora_target_linear = false;
  options.lora_target_modules = {"v_proj", "layers.1.mlp.up_proj"};
  const auto model = LanguageModel::random(tiny_config(), options);
  std::vector<std::string> names;
  for (const auto& parameter : model->trainable_parameters()) names.push_back(parameter.name);
  const std::string prefix = "base_model.model.model.layers.";
  EXPECT_EQ(
      names,
      (std::vector<std::string>{
          prefix + "0.self_attn.v_proj.lora_A.weight", prefix + "0.self_attn.v_proj.lora_B.weight",
          prefix + "1.self_attn.v_proj.lora_A.weight", prefix + "1.self_attn.v_proj.lora_B.weight",
          prefix + "1.mlp.up_proj.lora_A.weight", prefix + "1.mlp.up_proj.lora_B.weight"}));
}

TEST(LanguageModel, FourBitWeights_StayNearTheModelAndTrainTheAdapter) {
  ModelOptions options = lora_options();
  const Batch batch = packed_row({some_ids(50, 5)});
  const double exact =
      LanguageModel::random(tiny_config(), options)->loss_sum(batch).item<double>();
  options.adapter = AdapterKind::qlora;
  options.load_in_4bit = true;
  const auto model = LanguageModel::random(tiny_config(), options);
  EXPECT_NEAR(model->loss_sum(batch).item<double>(), exact, 0.1 * exact);
  wake_adapter(*model);
  for (const auto& gradient : gradients(*model, batch)) {
    EXPECT_GT(gradient.abs().max().item<double>(), 0.0);
  }
  options.adapter = AdapterKind::none;
  EXPECT_THROW(LanguageModel::random(tiny_config(), options), UsageError);
}

}  // namespace
}  // namespace tune
