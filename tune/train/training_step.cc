#include "tune/train/training_step.h"

#include <torch/types.h>

#include <string>

#include "tune/error.h"
#include "tune/splitmix64.h"
#include "tune/train/out_of_memory.h"

namespace tune {
namespace {

// Neighbouring inputs give unrelated outputs.
uint64_t mixed(uint64_t value) { return SplitMix64(value).next(); }

void count_labels(const std::vector<Batch>& batches, StepOutcome& outcome) {
  for (const Batch& batch : batches) {
    outcome.num_tokens += batch.num_tokens;
    outcome.num_trainable += batch.num_trainable;
  }
}

void accumulate(LanguageModel& model, const std::vector<Batch>& batches, const Config& config,
                const LossWatch& watch, int64_t step, StepOutcome& outcome) {
  const auto num_labels = static_cast<double>(outcome.num_trainable);
  double sum = 0.0;
  for (size_t i = 0; i < batches.size(); ++i) {
    if (batches[i].num_trainable == 0) continue;
    model.set_training(true, dropout_seed(config.seed, step, static_cast<int64_t>(i)));
    torch::Tensor loss = model.loss_sum(batches[i]);
    sum += loss.item<double>();
    watch.check_finite(sum / num_labels, step);
    (loss / num_labels).backward();
  }
  outcome.loss = sum / num_labels;
}

// Gradients, clipping, update.
void update(LanguageModel& model, AdamW& optimizer, const Config& config, const LossWatch& watch,
            int64_t step, double learning_rate, StepOutcome& outcome) {
  outcome.grad_norm = gradient_norm(optimizer.parameters());
  watch.check_gradient_norm(outcome.grad_norm, outcome.loss, step);
  optimizer.step(learning_rate, clip_factor(outcome.grad_norm, config.max_grad_norm));
  optimizer.clear_gradients();
  model.parameters_changed();
  outcome.has_update = true;
}

}  // namespace

uint64_t dropout_seed(int64_t seed, int64_t step, int64_t micro_batch) {
  uint64_t state = mixed(static_cast<uint64_t>(seed));
  state = mixed(state ^ static_cast<uint64_t>(step));
  return mixed(state ^ static_cast<uint64_t>(micro_batch));
}

StepOutcome run_step(LanguageModel& model, AdamW& optimizer, const std::vector<Batch>& batches,
                     const Config& config, const LossWatch& watch, int64_t step,
                     double learning_rate) {
  StepOutcome outcome;
  count_labels(batches, outcome);
  if (outcome.num_trainable == 0) return outcome;
  explaining_out_of_memory(config, "step " + std::to_string(step), model.options().device, [&] {
    accumulate(model, batches, config, watch, step, outcome);
    update(model, optimizer, config, watch, step, learning_rate, outcome);
  });
  return outcome;
}

}  // namespace tune
