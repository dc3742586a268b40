#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/tune/train/toy_run.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/train/run_identity.h"

namespace tune::testing {
namespace {

using ::testing::AllOf;
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
  const TempFolder whole_folder, parts_folder;
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
Config two_checkpoints(const TempFolder& folder, const PreparedData& data) {
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
  const TempFolder folder;
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
  const TempFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  std::filesystem::resize_file(folder / "checkpoint-4/adapter_model.safetensors", 10);
  config.resume_from_checkpoint = folder / "checkpoint-4/";
  EXPECT_THAT(resume_message(config, data), HasSubstr("cannot be used"));
  config.resume_from_checkpoint = "true";
  EXPECT_THAT(resume_message(config, data), HasSubstr("has 10 bytes instead of"));
}

TEST(ResumeChoice, NamedFolder_IsUsed) {
  const TempFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  config.resume_from_checkpoint = folder / "checkpoint-2";
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 2"));
}

TEST(ResumeChoice, NothingThere_TrueIsRefusedAutoStarts) {
  const TempFolder folder;
  const PreparedData data = toy_data(24);
  Config config = toy_config(folder.path());
  config.resume_from_checkpoint = "true";
  EXPECT_THAT(resume_message(config, data), HasSubstr("no complete checkpoint"));
  config.resume_from_checkpoint = "";
  config.auto_resume_from_checkpoints = true;
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 0"));
}

TEST(ResumeChoice, OtherSettings_AreRefusedByName) {
  const TempFolder folder;
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
  const TempFolder folder;
  const PreparedData data = toy_data(24);
  Config config = two_checkpoints(folder, data);
  config.num_epochs = 4;
  const std::string text = resume_message(config, data);
  EXPECT_THAT(text, HasSubstr("resumed from step 4"));
  EXPECT_THAT(text, HasSubstr("num_epochs was 2.0 and is 4.0"));
}

// A model folder of the least that makes one; what training reads of it here is only its content.
void write_base(const std::string& folder, const std::string& weights) {
  std::filesystem::create_directories(folder);
  write_file_atomically(folder + "/config.json", "{}");
  write_file_atomically(folder + "/model.safetensors", weights);
}

TEST(ResumeChoice, OtherWeightsUnderTheSamePath_AreRefused) {
  const TempFolder folder, base;
  const PreparedData data = toy_data(24);
  write_base(base / "model", "weights");
  Config config = toy_config(folder.path());
  config.base_model = base / "model";
  ToyModel model;
  Recorder recorder;
  recorder.stop_after = 4;
  train_toy(config, model, data, recorder);
  config.resume_from_checkpoint = "true";
  write_base(base / "model", "wEights");
  EXPECT_THAT(resume_message(config, data),
              AllOf(HasSubstr("belongs to another run"),
                    HasSubstr("base_model was 2 files, 9 bytes, checksum "),
                    HasSubstr(" and is 2 files, 9 bytes, checksum ")));
  write_base(base / "model", "weights");
  std::filesystem::rename(base / "model", base / "moved");
  config.base_model = base / "moved";
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 4"));
}

TEST(RunIdentity, Keys_AreAllThatMakeARunWhatItIs) {
  Config config = toy_config("out");
  config.warmup_steps = 3;
  config.warmup_ratio = 0.1;
  config.cosine_min_lr_ratio = 0.2;
  const ToyModel model;
  std::vector<std::string> adapter_keys, keys;
  for (const auto& entry : run_identity(config, model, ToyTokenizer(), {}))
    adapter_keys.push_back(entry.first);
  EXPECT_THAT(
      adapter_keys,
      ElementsAre("adam_beta1", "adam_beta2", "adam_epsilon", "adapter", "attention", "base_model",
                  "bf16", "cosine_min_lr_ratio", "datasets", "fp16", "gradient_accumulation_steps",
                  "gradient_checkpointing", "group_by_length", "learning_rate", "load_in_4bit",
                  "lora_alpha", "lora_dropout", "lora_modules_to_save", "lora_r",
                  "lora_target_linear", "lora_target_modules", "lr_scheduler", "max_grad_norm",
                  "max_steps", "micro_batch_size", "model", "num_epochs", "num_threads",
                  "optimizer", "sample_packing", "sample_packing_bin_size",
                  "sample_packing_group_size", "seed", "sequence_len", "shuffle_merged_datasets",
                  "tokenizer", "warmup_ratio", "warmup_steps", "weight_decay"));
  config.adapter = "";
  for (const auto& entry : run_identity(config, model, ToyTokenizer(), {}))
    keys.push_back(entry.first);
  EXPECT_EQ(keys.size(), adapter_keys.size() - 7) << "lora_* and base_model go with the adapter";
}

// Ctrl-C between the batches of an evaluation: the model counts its calls.
class StopsInEvaluation : public ToyModel {
 public:
  explicit StopsInEvaluation(Recorder& recorder, int64_t call) : recorder_(recorder), call_(call) {}
  torch::Tensor loss_sum(const Batch& batch) override {
    if (num_calls + 1 == call_) recorder_.stop = true;
    return ToyModel::loss_sum(batch);
  }

 private:
  Recorder& recorder_;
  int64_t call_;
};

class ResumeEvaluation : public ::testing::TestWithParam<int64_t> {
 protected:
  // 6 steps of 2 micro-batches, 5 batches of evaluation before them and after each second step.
  static Config config_for(const std::string& folder) {
    Config config = toy_config(folder);
    config.eval_steps = 2;
    return config;
  }
  static int64_t calls_before_evaluation(int64_t step) { return 5 * (step / 2) + 2 * step; }
};

std::vector<std::pair<int64_t, double>> evaluations_of(const Recorder& recorder) {
  std::vector<std::pair<int64_t, double>> result;
  for (const EvalRecord& record : recorder.evaluations)
    result.emplace_back(record.step, record.loss);
  return result;
}

TEST_P(ResumeEvaluation, CutShort_StopsAtItsBatchAndLosesNothing) {
  const int64_t step = GetParam();
  const PreparedData data = toy_data(12, 10);
  const TempFolder whole_folder, parts_folder;
  ToyModel whole;
  Recorder whole_run;
  train_toy(config_for(whole_folder.path()), whole, data, whole_run);
  ASSERT_EQ(whole_run.steps.size(), 6u);

  Config config = config_for(parts_folder.path());
  Recorder first_run;
  StopsInEvaluation first(first_run, calls_before_evaluation(step) + 2);
  const TrainResult stopped = train_toy(config, first, data, first_run);
  EXPECT_TRUE(stopped.interrupted);
  EXPECT_EQ(stopped.steps, step);
  EXPECT_EQ(first.num_calls, calls_before_evaluation(step) + 2) << "it went on after Ctrl-C";
  EXPECT_THAT(first_run.saved_steps, ElementsAre(step));
  EXPECT_FALSE(std::filesystem::exists(parts_folder / "README.md"));

  config.resume_from_checkpoint = "true";
  ToyModel second(AdapterKind::lora, 0.0, /*seed=*/99);
  Recorder second_run;
  EXPECT_FALSE(train_toy(config, second, data, second_run).interrupted);
  std::vector<double> losses = losses_of(first_run);
  for (const double loss : losses_of(second_run)) losses.push_back(loss);
  EXPECT_EQ(losses, losses_of(whole_run));
  auto evaluations = evaluations_of(first_run);
  for (const auto& evaluation : evaluations_of(second_run)) evaluations.push_back(evaluation);
  EXPECT_EQ(evaluations, evaluations_of(whole_run));
  EXPECT_EQ(second.parameter_bytes(), whole.parameter_bytes());

  // The checkpoint of the last step knows that its evaluation is done.
  if (step != 6) return;
  Recorder third_run;
  train_toy(config, second, data, third_run);
  EXPECT_TRUE(third_run.evaluations.empty());
}

INSTANTIATE_TEST_SUITE_P(AtStep, ResumeEvaluation, ::testing::Values(0, 2, 6));

TEST(ModelCard, ResumedFinishedRun_KeepsTheEvaluation) {
  const TempFolder folder;
  const PreparedData data = toy_data(12, 4);
  Config config = toy_config(folder.path());
  config.save_strategy = "epoch";
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, data, recorder);
  const std::string before = read_file(folder / "README.md");
  ASSERT_THAT(before, HasSubstr("| evaluation loss |"));
  config.resume_from_checkpoint = "true";
  Recorder second;
  train_toy(config, model, data, second);
  EXPECT_TRUE(second.steps.empty());
  const auto rows = [](const std::string& card) {
    const size_t begin = card.find("| steps |");
    return card.substr(begin, card.find("| training time") - begin);
  };
  EXPECT_EQ(rows(read_file(folder / "README.md")), rows(before));
}

TEST(ModelCard, EvaluationWithoutLabels_ResumesAsNotANumber) {
  const TempFolder folder;
  PreparedData data = toy_data(12, 2);
  for (Sample& sample : data.validation) sample.labels.assign(sample.labels.size(), kIgnoreLabel);
  Config config = toy_config(folder.path());
  config.save_strategy = "epoch";
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, data, recorder);
  config.resume_from_checkpoint = "true";
  EXPECT_THAT(resume_message(config, data), HasSubstr("resumed from step 6"));
  EXPECT_THAT(read_file(folder / "README.md"), HasSubstr("| evaluation loss | nan |"));
}

TEST(ResumeChoice, FinishedRun_HasNothingLeftToDo) {
  const TempFolder folder;
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
