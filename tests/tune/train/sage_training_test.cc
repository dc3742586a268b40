// Training with int8 scores follows training with exact ones: what the package whose name the
// module carries is known to fail at (its loss drops to 0 in full fine-tuning).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "tests/tune/train/toy_run.h"
#include "tune/train/session.h"

namespace tune::testing {
namespace {

// Rows in which the last two tokens leave three candidates for the next one, taken 60, 30 and 10 %
// of the time: the loss has a floor of 0.9 nats and no row comes twice, so that curves of two runs
// can be compared to a percent; where a model learns rows by heart they cannot.
PreparedData rule_data(int64_t num_rows, int64_t length) {
  constexpr auto kVocabulary = static_cast<int32_t>(kToyVocabulary);
  std::mt19937 random(11);
  PreparedData data;
  for (int64_t row = 0; row < num_rows; ++row) {
    Sample sample;
    int32_t last = static_cast<int32_t>(random() % 24),
            before = static_cast<int32_t>(random() % 24);
    for (int64_t i = 0; i < length; ++i) {
      const uint32_t draw = random() % 10;
      const int32_t branch = draw < 6 ? 1 : draw < 9 ? 7 : 11;
      const int32_t next = (3 * before + last + branch) % kVocabulary;
      sample.input_ids.push_back(next);
      sample.labels.push_back(i < 2 ? kIgnoreLabel : next);
      before = last;
      last = next;
    }
    data.train.push_back(std::move(sample));
  }
  return data;
}

ModelConfig tiny_llama() {
  ModelConfig config;
  config.vocab_size = kToyVocabulary;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.1;
  config.tie_word_embeddings = true;
  return config;
}

// Mean loss of the last `count` steps.
double final_loss(const std::vector<double>& losses, size_t count) {
  return std::accumulate(losses.end() - static_cast<std::ptrdiff_t>(count), losses.end(), 0.0) /
         static_cast<double>(count);
}

std::vector<double> train_tiny(regard::Module attention, const PreparedData& data) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.adapter = "";  // full fine-tuning
  config.sequence_len = 128;
  config.sample_packing = true;
  config.micro_batch_size = 4;
  config.gradient_accumulation_steps = 1;
  config.learning_rate = 0.005;
  config.num_epochs = 1;
  config.max_steps = 300;
  ModelOptions options;
  options.attention = attention;
  const auto model = LanguageModel::random(tiny_llama(), options);
  const ToyTokenizer tokenizer;
  Recorder recorder;
  train(config, *model, tokenizer, data, recorder, &recorder.stop);
  return losses_of(recorder);
}

TEST(SageTraining, FullFineTuning_FollowsExactAttention) {
  constexpr size_t kSteps = 300, kLast = 20;
  const PreparedData data = rule_data(static_cast<int64_t>(kSteps) * 4 * 4, 32);
  const std::vector<double> exact = train_tiny(regard::Module::sdpa, data);
  const std::vector<double> sage = train_tiny(regard::Module::sage, data);
  ASSERT_EQ(exact.size(), kSteps);
  ASSERT_EQ(sage.size(), kSteps);
  EXPECT_LT(final_loss(exact, kLast), 0.6 * exact.front()) << "the rule was not learnt";
  EXPECT_NEAR(final_loss(sage, kLast), final_loss(exact, kLast), 0.01 * final_loss(exact, kLast));
  for (size_t step = 0; step < kSteps; ++step) {
    ASSERT_TRUE(std::isfinite(sage[step])) << "step " << step + 1;
    ASSERT_GT(sage[step], 0.5) << "below the data's own entropy at step " << step + 1;
  }
  RecordProperty("final_loss_exact", std::to_string(final_loss(exact, kLast)));
  RecordProperty("final_loss_sage", std::to_string(final_loss(sage, kLast)));
}

std::vector<double> train_smollm2(const char* path, regard::Module attention) {
  const TempFolder folder;
  Config config;
  config.base_model = path;
  config.attention = attention;
  config.adapter = "lora";
  config.lora_r = 8;
  config.lora_alpha = 16;
  config.lora_target_linear = true;
  config.output_dir = folder.path();
  config.dataset_prepared_path = folder / "prepared";
  DatasetConfig dataset;
  dataset.path = REGARD_EXAMPLES "/data/definitions.jsonl";
  dataset.type = "alpaca";
  config.datasets = {dataset};
  config.sequence_len = 256;
  config.sample_packing = true;
  config.micro_batch_size = 1;
  config.gradient_accumulation_steps = 1;
  config.learning_rate = 5e-4;
  config.max_steps = 20;
  config.save_strategy = "no";
  const auto tokenizer = open_tokenizer(config);
  const PreparedData data = prepare_data(config, *tokenizer);
  const auto model = open_model_for_training(config, *tokenizer);
  Recorder recorder;
  train(config, *model, *tokenizer, data, recorder, &recorder.stop);
  return losses_of(recorder);
}

// The real model is not committed; REGARD_SMOLLM2_GGUF names SmolLM2-135M-Instruct.Q4_1.gguf.
TEST(SageTraining, SmolLM2WithLora_FollowsExactAttention) {
  const char* path = std::getenv("REGARD_SMOLLM2_GGUF");
  if (path == nullptr) {
    GTEST_SKIP() << "REGARD_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct's GGUF file";
  }
  const std::vector<double> exact = train_smollm2(path, regard::Module::sdpa);
  const std::vector<double> sage = train_smollm2(path, regard::Module::sage);
  ASSERT_EQ(exact.size(), 20u);
  ASSERT_EQ(sage.size(), 20u);
  for (size_t step = 0; step < 20; ++step) {
    EXPECT_NEAR(sage[step], exact[step], 0.01 * exact[step]) << "step " << step + 1;
  }
  RecordProperty("final_loss_exact", std::to_string(exact.back()));
  RecordProperty("final_loss_sage", std::to_string(sage.back()));
}

}  // namespace
}  // namespace tune::testing
