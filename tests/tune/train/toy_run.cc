#include "tests/tune/train/toy_run.h"

#include <gtest/gtest.h>

#include <random>

namespace tune::testing {

PreparedData toy_data(int64_t num_rows, int64_t num_validation) {
  std::mt19937_64 random(3);
  PreparedData data;
  for (int64_t row = 0; row < num_rows + num_validation; ++row) {
    Sample sample;
    const auto length = static_cast<int32_t>(4 + random() % 9);
    int32_t id = static_cast<int32_t>(2 + random() % (kToyVocabulary - 2));
    for (int32_t i = 0; i < length; ++i) {
      sample.input_ids.push_back(id);
      sample.labels.push_back(i < 2 ? kIgnoreLabel : id);
      id = (id * 5 + 1) % static_cast<int32_t>(kToyVocabulary);
    }
    (row < num_rows ? data.train : data.validation).push_back(std::move(sample));
  }
  return data;
}

Config toy_config(const std::string& output_dir) {
  Config config;
  config.base_model = "toy";
  config.adapter = "lora";
  config.output_dir = output_dir;
  config.sequence_len = 32;
  config.learning_rate = 0.02;
  config.weight_decay = 0.1;
  config.num_epochs = 2;
  config.micro_batch_size = 2;
  config.gradient_accumulation_steps = 2;
  config.save_strategy = "no";
  return config;
}

TrainResult train_toy(const Config& config, ToyModel& model, const PreparedData& data,
                      Recorder& recorder) {
  const ToyTokenizer tokenizer;
  return train(config, model, tokenizer, data, recorder, &recorder.stop);
}

std::vector<double> losses_of(const Recorder& recorder) {
  std::vector<double> losses;
  for (const StepRecord& record : recorder.steps) losses.push_back(record.loss);
  return losses;
}

}  // namespace tune::testing
