// The loop on a small random LLaMA with Regard's own attention.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/tune/train/toy_run.h"
#include "tune/train/generate.h"

namespace tune::testing {
namespace {

ModelConfig small_llama() {
  ModelConfig config;
  config.vocab_size = kToyVocabulary;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.1;
  config.tie_word_embeddings = true;
  return config;
}

ModelOptions options_for(const Config& config, regard::Module attention = regard::Module::sdpa) {
  ModelOptions options;
  options.attention = attention;
  options.adapter = config.uses_adapter() ? AdapterKind::lora : AdapterKind::none;
  options.lora_r = 4;
  options.lora_dropout = config.lora_dropout;
  options.lora_target_linear = config.uses_adapter();
  return options;
}

Config small_config(const std::string& folder, bool is_full) {
  Config config = toy_config(folder);
  if (is_full) config.adapter = "";
  config.learning_rate = 0.01;
  config.num_epochs = 10;
  return config;
}

Recorder& train_on(const Config& config, LanguageModel& model, const PreparedData& data,
                   Recorder& recorder) {
  const ToyTokenizer tokenizer;
  train(config, model, tokenizer, data, recorder, &recorder.stop);
  return recorder;
}

std::string bytes_of(LanguageModel& model) {
  std::string bytes;
  for (const TrainableParameter& parameter : model.trainable_parameters())
    bytes.append(static_cast<const char*>(parameter.tensor.data_ptr()),
                 static_cast<size_t>(parameter.tensor.nbytes()));
  return bytes;
}

TEST(RealModel, FullFineTuning_LearnsTheRule) {
  const TempFolder folder;
  const Config config = small_config(folder.path(), true);
  const auto model = LanguageModel::random(small_llama(), options_for(config));
  Recorder recorder;
  train_on(config, *model, toy_data(40), recorder);
  EXPECT_LT(recorder.steps.back().loss, 0.3 * recorder.steps.front().loss);
  EXPECT_TRUE(std::filesystem::exists(folder / "model.safetensors"));
}

TEST(RealModel, Adapter_LossFalls) {
  const TempFolder folder;
  const Config config = small_config(folder.path(), false);
  const auto model = LanguageModel::random(small_llama(), options_for(config));
  Recorder recorder;
  train_on(config, *model, toy_data(40), recorder);
  EXPECT_LT(recorder.steps.back().loss, 0.8 * recorder.steps.front().loss);
  EXPECT_TRUE(std::filesystem::exists(folder / "adapter_config.json"));
}

TEST(RealModel, AttentionModules_AgreeOverFiftySteps) {
  const PreparedData data = toy_data(40);
  std::vector<std::vector<double>> losses;
  for (const regard::Module attention :
       {regard::Module::eager, regard::Module::sdpa, regard::Module::flash_attention_2,
        regard::Module::flex_attention, regard::Module::xformers}) {
    const TempFolder folder;
    Config config = small_config(folder.path(), true);
    config.max_steps = 50;
    config.sample_packing = true;
    config.micro_batch_size = 1;
    config.learning_rate = 0.002;
    const auto model = LanguageModel::random(small_llama(), options_for(config, attention));
    Recorder recorder;
    losses.push_back(losses_of(train_on(config, *model, data, recorder)));
    ASSERT_EQ(losses.back().size(), 50u);
  }
  for (size_t other = 1; other < losses.size(); ++other)
    for (size_t step = 0; step < 50; ++step)
      EXPECT_NEAR(losses[other][step], losses[0][step], 1e-4 * losses[0][step])
          << "module " << other << " step " << step + 1;
}

TEST(RealModel, PackedRows_HaveTheLossOfSeparateRows) {
  const PreparedData data = toy_data(12);
  std::vector<double> losses;
  for (const bool packs : {false, true}) {
    const TempFolder folder;
    Config config = small_config(folder.path(), true);
    config.sample_packing = packs;
    config.micro_batch_size = packs ? 1 : 12;
    config.gradient_accumulation_steps = 100;  // the whole data in one step
    config.max_steps = 1;
    const auto model = LanguageModel::random(small_llama(), options_for(config));
    Recorder recorder;
    losses.push_back(train_on(config, *model, data, recorder).steps[0].loss);
  }
  EXPECT_NEAR(losses[0], losses[1], 1e-5 * losses[0]);
}

class RealModelResume : public ::testing::TestWithParam<bool> {};

TEST_P(RealModelResume, PackedRunWithDropout_ContinuesBitForBit) {
  const bool is_full = GetParam();
  const PreparedData data = toy_data(40, 4);
  const auto config_in = [&](const std::string& folder) {
    Config config = small_config(folder, is_full);
    config.sample_packing = true;
    config.micro_batch_size = 1;
    config.num_epochs = 2;
    config.lora_dropout = is_full ? 0.0 : 0.1;
    return config;
  };
  const TempFolder whole_folder, parts_folder;
  Config config = config_in(whole_folder.path());
  const auto whole = LanguageModel::random(small_llama(), options_for(config));
  Recorder whole_run;
  train_on(config, *whole, data, whole_run);

  config = config_in(parts_folder.path());
  std::vector<double> losses;
  {
    const auto first = LanguageModel::random(small_llama(), options_for(config));
    Recorder recorder;
    recorder.stop_after = static_cast<int64_t>(whole_run.steps.size()) / 2 + 1;
    losses = losses_of(train_on(config, *first, data, recorder));
  }
  config.resume_from_checkpoint = "auto";
  const auto second = LanguageModel::random(small_llama(), options_for(config));
  Recorder recorder;
  for (const double loss : losses_of(train_on(config, *second, data, recorder)))
    losses.push_back(loss);
  EXPECT_EQ(losses, losses_of(whole_run));
  EXPECT_EQ(bytes_of(*second), bytes_of(*whole));
}

INSTANTIATE_TEST_SUITE_P(Kinds, RealModelResume, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "full" : "adapter"; });

TEST(RealModel, GreedyGeneration_IsTheArgmaxOfTheFullForward) {
  const auto model = LanguageModel::random(small_llama(), ModelOptions());
  SamplingOptions options;
  options.max_new_tokens = 8;
  std::vector<int32_t> ids = {3, 9, 4};
  const std::vector<int32_t> answer = generate(*model, ids, options);
  ASSERT_EQ(answer.size(), 8u);
  for (const int32_t token : answer) {
    Sample sample{ids, ids};
    const Batch batch =
        lay_out_rows({sample}, {{0}}, static_cast<int64_t>(ids.size()), /*pad_id=*/0);
    const torch::Tensor last = model->logits(batch)[0][static_cast<int64_t>(ids.size()) - 1];
    EXPECT_EQ(last.argmax().item<int64_t>(), token);
    ids.push_back(token);
  }
}

}  // namespace
}  // namespace tune::testing
