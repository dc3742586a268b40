#include <torch/csrc/autograd/grad_mode.h>
#include <torch/types.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "tune/data/dataset.h"
#include "tune/model/language_model.h"
#include "tune/train/padding.h"
#include "tune/train/trainer.h"

namespace tune {

EvalRecord evaluate(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
                    const std::vector<Sample>& samples) {
  return evaluate_until(config, model, tokenizer, samples, nullptr).value();
}

std::optional<EvalRecord> evaluate_until(const Config& config, LanguageModel& model,
                                         const Tokenizer& tokenizer,
                                         const std::vector<Sample>& samples,
                                         const std::atomic<bool>* stop) {
  const auto start = std::chrono::steady_clock::now();
  torch::NoGradGuard no_grad;
  model.set_training(false, 0);
  BatchPlan plan(samples, config, /*is_training=*/false, padding_id(tokenizer));
  plan.start_epoch(0);
  EvalRecord record;
  double sum = 0.0;
  int64_t num_labels = 0;
  for (int64_t i = 0; i < plan.num_batches(); ++i) {
    if (stop != nullptr && stop->load()) return std::nullopt;
    const Batch batch = plan.batch(i);
    record.num_tokens += batch.num_tokens;
    if (batch.num_trainable == 0) continue;
    sum += model.loss_sum(batch).item<double>();
    num_labels += batch.num_trainable;
  }
  // No label, no loss: not a number, rather than the 0 of a perfect model.
  record.loss = num_labels > 0 ? sum / static_cast<double>(num_labels)
                               : std::numeric_limits<double>::quiet_NaN();
  record.perplexity = std::exp(record.loss);
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return record;
}

}  // namespace tune
