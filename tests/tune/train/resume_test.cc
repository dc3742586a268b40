#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/tune/train/toy_run.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"

namespace tune::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct ResumeCase {
  const char* name;
  AdapterKind adapter;
  bool packs;
  double dropout;
  int64_t stop_after;
};

class Resume : public ::testing::TestWithParam<ResumeCase> {
 protected:
  Config config_for(const std::string& folder) const {
    Config config = toy_config(folder);
    if (GetParam().adapter == AdapterKind::none) config.adapter = "";
    config.sample_packing = GetParam().packs;
    config.lora_dropout = GetParam().dropout;
    if (config.sample_packing) config.micro_batch_size = 1;
    config.num_epochs = 3;
    return config;
  }
  ToyModel fresh_model() const { return ToyModel(GetParam().adapter, GetParam().dropout); }
};

TEST_P(Resume, InterruptedRun_ContinuesBitForBit) {
  const PreparedData data = toy_data(26, 4);
  const TestFolder whole_folder, parts_folder;
  ToyModel whole = fresh_model();
  Recorder whole_run;
  const TrainResult expected = train_toy(config_for(whole_folder.path()), whole, data, whole_run);

  Config config = config_for(parts_folder.path());
  ToyModel first = fresh_model();
  Recorder first_run;
  first_run.stop_after = GetParam().stop_after;
  ASSERT_TRUE(train_toy(config, first, data, first_run).interrupted);

  config.resume_from_checkpoint = "true";
  // Other weights than those it started from: everything must come out of the checkpoint.
  ToyModel second(GetParam().adapter, GetParam().dropout, /*seed=*/99);
  Recorder second_run;
  const TrainResult result = train_toy(config, second, data, second_run);

  EXPECT_EQ(second_run.shape.first_step, GetParam().stop_after);
  std::vector<double> losses = losses_of(first_run);
  for (const double loss : losses_of(second_run)) losses.push_back(loss);
  EXPECT_EQ(losses, losses_of(whole_run));
  EXPECT_EQ(second.parameter_bytes(), whole.parameter_bytes());
  const StepRecord &last = second_run.steps.back(), &expected_last = whole_run.steps.back();
  EXPECT_EQ(last.tokens_seen, expected_last.tokens_seen);
  EXPECT_EQ(last.trainable_tokens_seen, expected_last.trainable_tokens_seen);
  EXPECT_EQ(last.learning_rate, expected_last.learning_rate);
  EXPECT_EQ(last.grad_norm, expected_last.grad_norm);
  EXPECT_EQ(last.epoch, expected_last.epoch);
  EXPECT_EQ(result.mean_loss, expected.mean_loss);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Resume,
    ::testing::Values(ResumeCase{"adapter_mid_epoch", AdapterKind::lora, false, 0.0, 4},
                      ResumeCase{"adapter_dropout", AdapterKind::lora, false, 0.2, 5},
                      ResumeCase{"adapter_epoch_end", AdapterKind::lora, false, 0.2, 7},
                      ResumeCase{"full_dropout", AdapterKind::none, false, 0.1, 4},
                      ResumeCase{"packed_dropout", AdapterKind::lora, true, 0.1, 3},
                      ResumeCase{"full_packed", AdapterKind::none, true, 0.0, 5}),
    [](const auto& instance) { return instance.param.name; });

// Trains to step 4 and leaves checkpoint-2 and checkpoint-4.
Config two_checkpoints(const TestFolder& folder, const PreparedData& data) {
  Config config = toy_config(folder.path());
  config.save_strategy = "steps";
  config.save_steps = 2;
  ToyModel model;
  Recorder recorder;
  recorder.stop_after = 4;
  train_toy(config, model, data, recorder);
  config.resume_from_checkpoint = "true";
  return config;
}

std::string resume_message(const Config& config, const PreparedData& data) {
  ToyModel model;
  Recorder recorder;
  try {
    train_toy(config, model, data, recorder);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "resumed from step " + std::to_string(recorder.shape.first_step) + "\n" + recorder.notes;
}

TEST(ResumeChoice, DamagedNewest_IsPassedOverWithANote) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  const Config config = two_checkpoints(folder, data);
  {
    std::fstream file(folder / "checkpoint-4/optimizer.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end);
    file.put('\x7f');
  }
  const std::string text = resume_message(config, data);
  EXPECT_THAT(text, HasSubstr("resumed from step 2"));
  EXPECT_THAT(text, HasSubstr("checkpoint-4 is damaged (optimizer.safetensors"));
}

TEST(ResumeChoice, TruncatedOrMissingFile_IsRecognised) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  std::filesystem::resize_file(folder / "checkpoint-4/adapter_model.safetensors", 10);
  config.resume_from_checkpoint = folder / "checkpoint-4/";
  EXPECT_THAT(resume_message(config, data), HasSubstr("cannot be used"));
  config.resume_from_checkpoint = "true";
  EXPECT_THAT(resume_message(config, data), HasSubstr("has 10 bytes instead of"));
}

TEST(ResumeChoice, NamedFolder_IsUsed) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  config.resume_from_checkpoint = folder / "checkpoint-2";
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 2"));
}

TEST(ResumeChoice, NothingThere_TrueIsRefusedAutoStarts) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  Config config = toy_config(folder.path());
  config.resume_from_checkpoint = "true";
  EXPECT_THAT(resume_message(config, data), HasSubstr("no complete checkpoint"));
  config.resume_from_checkpoint = "";
  config.auto_resume_from_checkpoints = true;
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 0"));
}

TEST(ResumeChoice, OtherSettings_AreRefusedByName) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  const Config good = two_checkpoints(folder, data);
  Config config = good;
  config.learning_rate = 0.5;
  EXPECT_THAT(resume_message(config, data), HasSubstr("learning_rate was 0.02 and is 0.5"));
  config = good;
  config.seed = 7;
  EXPECT_THAT(resume_message(config, data), HasSubstr("seed was 42 and is 7"));
  config = good;
  config.micro_batch_size = 4;
  EXPECT_THAT(resume_message(config, data), HasSubstr("micro_batch_size was 2 and is 4"));
  EXPECT_THAT(resume_message(good, toy_data(23)), HasSubstr("datasets was 24 rows"));
  PreparedData changed = data;
  changed.train[3].labels.back() = 5;
  EXPECT_THAT(resume_message(good, changed), HasSubstr("datasets was"));
}

TEST(ResumeChoice, LongerRun_GoesOnWithANote) {
  const TestFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  config.num_epochs = 4;
  const std::string text = resume_message(config, data);
  EXPECT_THAT(text, HasSubstr("resumed from step 4"));
  EXPECT_THAT(text, HasSubstr("num_epochs was 2.0 and is 4.0"));
}

TEST(ResumeChoice, FinishedRun_HasNothingLeftToDo) {
  const TestFolder folder;
  const PreparedData data = toy_data(8);
  Config config = toy_config(folder.path());
  config.save_strategy = "epoch";
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, data, recorder);
  config.resume_from_checkpoint = "auto";
  ToyModel again;
  Recorder second;
  EXPECT_EQ(train_toy(config, again, data, second).steps, 4);
  EXPECT_TRUE(second.steps.empty());
  EXPECT_EQ(again.parameter_bytes(), model.parameter_bytes());
}

}  // namespace
}  // namespace tune::testing
