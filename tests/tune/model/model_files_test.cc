// What the model writes is what it reads again.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tune/model/model_fixture.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"

namespace tune {
namespace {

TEST(ModelFiles, SavedModelWithShards_LoadsWithTheSameLogits) {
  const TempFolder folder;
  const auto model = LanguageModel::random(tiny_config(), {});
  const Batch batch = packed_row({some_ids(20, 1)});
  model->save_model(folder.path(), torch::kFloat32, 20000);
  EXPECT_TRUE(std::filesystem::exists(folder.path() + "/model.safetensors.index.json"));
  const auto again = LanguageModel::load(*open_model(folder.path()), {});
  EXPECT_TRUE(torch::equal(again->logits(batch), model->logits(batch)));
}

TEST(ModelFiles, MergedAdapter_GivesTheAdaptersLogits) {
  const TempFolder folder;
  const auto model = LanguageModel::random(tiny_config(), lora_options());
  wake_adapter(*model);
  const Batch batch = packed_row({some_ids(20, 1)});
  model->save_model(folder.path(), torch::kFloat32, 1 << 30);
  const auto merged = LanguageModel::load(*open_model(folder.path()), {});
  EXPECT_LT(largest_difference(merged->logits(batch), model->logits(batch)), 1e-4);
}

TEST(ModelFiles, SavedAdapter_LoadsIntoTheSameBase) {
  for (const bool is_tied : {false, true}) {
    const TempFolder folder;
    ModelConfig config = tiny_config();
    config.tie_word_embeddings = is_tied;
    ModelOptions options = lora_options();
    options.modules_to_save = {"embed_tokens", "norm"};
    const auto model = LanguageModel::random(config, options);
    wake_adapter(*model);
    for (auto& parameter : model->trainable_parameters()) parameter.tensor.detach().mul_(1.25);
    const Batch batch = packed_row({some_ids(20, 1)});
    model->save_adapter(folder.path(), "some/base");
    ModelOptions read;
    read.seed = options.seed;  // of the base weights
    read_adapter_config(folder.path(), read);
    EXPECT_EQ(read.lora_r, options.lora_r);
    EXPECT_EQ(read.lora_alpha, options.lora_alpha);
    const auto again = LanguageModel::random(config, read);
    again->load_adapter(folder.path());
    EXPECT_TRUE(torch::equal(again->logits(batch), model->logits(batch)));
  }
}

TEST(ModelFiles, AdapterConfig_SaysWhatPeftReads) {
  const TempFolder folder;
  LanguageModel::random(tiny_config(), lora_options())->save_adapter(folder.path(), "some/base");
  const auto config = nlohmann::json::parse(read_file(folder.path() + "/adapter_config.json"));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["task_type"], "CAUSAL_LM");
  EXPECT_EQ(config["base_model_name_or_path"], "some/base");
  EXPECT_EQ(config["target_modules"].size(), 7u);
  EXPECT_TRUE(config["modules_to_save"].is_null());
}

TEST(ModelFiles, AdapterOfAnotherRank_IsRefusedNamingTheTensor) {
  const TempFolder folder;
  ModelOptions options = lora_options();
  LanguageModel::random(tiny_config(), options)->save_adapter(folder.path(), "base");
  options.lora_r = 5;
  const auto other = LanguageModel::random(tiny_config(), options);
  try {
    other->load_adapter(folder.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lora_A.weight"), std::string::npos) << error.what();
  }
}

TEST(ModelFiles, AdapterVariantsWeDoNotKnow_AreRefused) {
  const TempFolder folder;
  write_file_atomically(folder.path() + "/adapter_config.json",
                        R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": true,
                            "target_modules": ["q_proj"]})");
  ModelOptions options;
  EXPECT_THROW(read_adapter_config(folder.path(), options), UsageError);
}

TEST(ModelFiles, LargerVocabulary_AddsTheMeanOfTheOldRows) {
  const TempFolder folder;
  const auto model = LanguageModel::random(tiny_config(), {});
  model->save_model(folder.path(), torch::kFloat32, 1 << 30);
  const auto grown = LanguageModel::load(*open_model(folder.path()), {}, 67);
  EXPECT_EQ(grown->config().vocab_size, 67);
  const Batch batch = packed_row({some_ids(20, 1)});
  const torch::Tensor old_logits = model->logits(batch)[0], logits = grown->logits(batch)[0];
  EXPECT_TRUE(torch::equal(logits.narrow(1, 0, 64), old_logits));
  EXPECT_LT(largest_difference(logits.select(1, 66), old_logits.mean(1)), 1e-4);
}

}  // namespace
}  // namespace tune
