#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/tune/train/toy_run.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"

namespace tune::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

TEST(Trainer, LearnableRows_LossFalls) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.num_epochs = 10;
  ToyModel model;
  Recorder recorder;
  const TrainResult result = train_toy(config, model, toy_data(24), recorder);
  EXPECT_EQ(result.steps, 60);
  EXPECT_LT(result.last_loss, 0.5 * recorder.steps.front().loss);
  EXPECT_NEAR(recorder.steps.front().loss, std::log(kToyVocabulary), 0.5);
  EXPECT_EQ(recorder.num_finished, 1);
}

TEST(Trainer, Records_SayWhatHappened) {
  const TempFolder folder;
  const PreparedData data = toy_data(10);
  ToyModel model;
  Recorder recorder;
  const TrainResult result = train_toy(toy_config(folder.path()), model, data, recorder);
  int64_t num_tokens = 0, num_trainable = 0;
  for (const Sample& sample : data.train) {
    num_tokens += sample.length();
    num_trainable += sample.num_trainable();
  }
  // 10 rows in batches of 2, accumulated by 2: 3 steps an epoch, the last one short.
  ASSERT_EQ(recorder.steps.size(), 6u);
  EXPECT_EQ(recorder.shape.num_steps, 6);
  EXPECT_EQ(recorder.steps.back().tokens_seen, 2 * num_tokens);
  EXPECT_EQ(recorder.steps.back().trainable_tokens_seen, 2 * num_trainable);
  EXPECT_DOUBLE_EQ(recorder.steps[2].epoch, 1.0);
  EXPECT_DOUBLE_EQ(recorder.steps[0].learning_rate, 0.02);
  EXPECT_GT(recorder.steps[0].tokens_per_second, 0.0);
  EXPECT_GT(recorder.steps[0].peak_memory_bytes, 1 << 20);
  EXPECT_EQ(recorder.steps.back().seconds_left, 0.0);
  EXPECT_DOUBLE_EQ(result.last_loss, recorder.steps.back().loss);
}

TEST(Trainer, AccumulatedMicroBatches_EqualOneBatch) {
  const TempFolder folder;
  const PreparedData data = toy_data(32);
  std::vector<std::vector<double>> losses, norms;
  for (const auto& [micro, accumulation] : {std::pair(1, 4), std::pair(4, 1), std::pair(2, 2)}) {
    Config config = toy_config(folder.path());
    config.shuffle_before_training = false;
    config.micro_batch_size = micro;
    config.gradient_accumulation_steps = accumulation;
    ToyModel model;
    Recorder recorder;
    train_toy(config, model, data, recorder);
    losses.push_back(losses_of(recorder));
    norms.emplace_back();
    for (const StepRecord& record : recorder.steps) norms.back().push_back(record.grad_norm);
  }
  for (size_t way : {1u, 2u})
    for (size_t step = 0; step < losses[0].size(); ++step) {
      EXPECT_NEAR(losses[0][step], losses[way][step], 1e-6 * losses[0][step]) << "step " << step;
      EXPECT_NEAR(norms[0][step], norms[way][step], 1e-5) << "step " << step;
    }
}

TEST(Trainer, Interrupt_FinishesTheStepSavesAndReturns) {
  const TempFolder folder;
  ToyModel model;
  Recorder recorder;
  recorder.stop_after = 4;
  const TrainResult result = train_toy(toy_config(folder.path()), model, toy_data(24), recorder);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.steps, 4);
  EXPECT_THAT(recorder.saved_steps, ElementsAre(4));
  EXPECT_FALSE(std::filesystem::exists(folder / "adapter_model.safetensors"));
}

TEST(Trainer, EvaluationAsked_RunsBeforeTheFirstStepAndAsOften) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.eval_steps = 4;
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, toy_data(24, 6), recorder);
  std::vector<int64_t> steps;
  for (const EvalRecord& record : recorder.evaluations) steps.push_back(record.step);
  EXPECT_THAT(steps, ElementsAre(0, 4, 8, 12));
  EXPECT_LT(recorder.evaluations.back().loss, recorder.evaluations.front().loss);
  EXPECT_DOUBLE_EQ(recorder.evaluations[0].perplexity, std::exp(recorder.evaluations[0].loss));
}

TEST(Trainer, FinishedRun_LeavesResultConfigTokenizerAndCard) {
  const TempFolder folder;
  ToyModel model;
  Recorder recorder;
  train_toy(toy_config(folder.path()), model, toy_data(8), recorder);
  for (const char* name :
       {"adapter_model.safetensors", "config.yml", "tokenizer.json", "README.md"})
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  const std::string card = read_file(folder / "README.md");
  EXPECT_THAT(card, HasSubstr("base_model: \"toy\""));
  EXPECT_THAT(card, HasSubstr("```yaml"));
}

TEST(Trainer, SamplePrompt_IsAnsweredBeforeAndAfter) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.datasets.emplace_back();
  config.datasets[0].type = "completion";
  config.sample_prompt = "question";
  config.sample_max_new_tokens = 5;
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, toy_data(24), recorder);
  ASSERT_EQ(recorder.samples.size(), 2u);
  EXPECT_EQ(recorder.samples[0].step, 0);
  EXPECT_EQ(recorder.samples[1].step, recorder.shape.num_steps);
  EXPECT_LE(recorder.samples[1].text.size(), 5u);
}

TEST(LossWatch, LossTurnsNan_StopsAtThatStepWithoutTouchingWeights) {
  const TempFolder folder;
  ToyModel model;
  // Two micro-batches a step: call 6 belongs to step 3.
  model.fault_from_call = 6;
  model.fault_factor = std::numeric_limits<double>::quiet_NaN();
  Recorder recorder;
  const std::string message =
      message_of([&] { train_toy(toy_config(folder.path()), model, toy_data(24), recorder); });
  EXPECT_THAT(message, HasSubstr("step 3"));
  EXPECT_THAT(message, HasSubstr("not a number"));
  EXPECT_THAT(message, HasSubstr("learning_rate"));
  EXPECT_EQ(recorder.steps.size(), 2u);
  EXPECT_EQ(model.num_changes, 2);
}

TEST(LossWatch, InfiniteLoss_IsExplained) {
  const TempFolder folder;
  ToyModel model;
  model.fault_from_call = 1;
  model.fault_factor = std::numeric_limits<double>::infinity();
  Recorder recorder;
  EXPECT_THAT(
      message_of([&] { train_toy(toy_config(folder.path()), model, toy_data(8), recorder); }),
      HasSubstr("step 1: the loss is infinite"));
}

TEST(LossWatch, GradientNotFinite_IsNeverApplied) {
  const TempFolder folder;
  ToyModel model;
  model.fault_from_call = 1;
  model.fault_in_gradient = true;
  const std::string before = model.parameter_bytes();
  Recorder recorder;
  EXPECT_THAT(
      message_of([&] { train_toy(toy_config(folder.path()), model, toy_data(8), recorder); }),
      HasSubstr("gradient norm is not a number"));
  EXPECT_EQ(model.parameter_bytes(), before);
}

TEST(LossWatch, LossStuckAtZero_IsNoticedAtTheThirdStep) {
  const TempFolder folder;
  ToyModel model;
  model.fault_from_call = 5;
  model.fault_factor = 0.0;
  Recorder recorder;
  const std::string message =
      message_of([&] { train_toy(toy_config(folder.path()), model, toy_data(40), recorder); });
  EXPECT_THAT(message, HasSubstr("step 5: the loss has been 0"));
  EXPECT_THAT(message, HasSubstr("masked"));
}

TEST(LossWatch, WatchdogThreshold_StopsAfterPatience) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.loss_watchdog_threshold = 0.001;
  config.loss_watchdog_patience = 4;
  ToyModel model;
  Recorder recorder;
  EXPECT_THAT(message_of([&] { train_toy(config, model, toy_data(40), recorder); }),
              HasSubstr("step 4: the loss"));
}

TEST(Trainer, AllLabelsMasked_IsRefusedBeforeTheFirstStep) {
  const TempFolder folder;
  PreparedData data = toy_data(8);
  for (Sample& sample : data.train) sample.labels.assign(sample.labels.size(), kIgnoreLabel);
  ToyModel model;
  Recorder recorder;
  EXPECT_THAT(message_of([&] { train_toy(toy_config(folder.path()), model, data, recorder); }),
              HasSubstr("train_on_inputs"));
  EXPECT_EQ(model.num_calls, 0);
}

TEST(Trainer, OneStepWithoutLabels_IsNotedAndChangesNothing) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.shuffle_before_training = false;
  config.num_epochs = 1;
  PreparedData data = toy_data(12);
  for (size_t row = 0; row < 4; ++row)
    data.train[row].labels.assign(data.train[row].labels.size(), kIgnoreLabel);
  ToyModel model;
  Recorder recorder;
  EXPECT_EQ(train_toy(config, model, data, recorder).steps, 3);
  EXPECT_EQ(recorder.steps.size(), 2u);
  EXPECT_EQ(model.num_changes, 2);
  EXPECT_THAT(recorder.notes, HasSubstr("step 1 had no trainable token"));
}

TEST(OutputDir, FileInItsPlace_IsNamed) {
  const TempFolder folder;
  write_file_atomically(folder / "taken", "x");
  Config config = toy_config(folder / "taken");
  EXPECT_THAT(message_of([&] { prepare_output_dir(config); }), HasSubstr("taken"));
  config.output_dir = folder / "taken/below";
  EXPECT_THAT(message_of([&] { prepare_output_dir(config); }), HasSubstr("output_dir"));
}

TEST(OutputDir, LeftoversOfAKilledRun_AreCleared) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "checkpoint-3.regard-tmp/deep");
  write_file_atomically(folder / "half.bin", "x");
  std::filesystem::rename(folder / "half.bin", folder / "config.yml.regard-tmp");
  std::filesystem::create_directories(folder / "mine.regard-tmp");
  prepare_output_dir(toy_config(folder.path()));
  EXPECT_FALSE(std::filesystem::exists(folder / "checkpoint-3.regard-tmp"));
  EXPECT_FALSE(std::filesystem::exists(folder / "config.yml.regard-tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "mine.regard-tmp"));
}

}  // namespace
}  // namespace tune::testing
