#include "tune/train/run_plan.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "tune/error.h"

namespace tune {
namespace {

int64_t steps_of(int64_t batches, int64_t accumulation) {
  return (batches + accumulation - 1) / accumulation;
}

// `count` times an epoch, as a number of steps: a share of the whole run, as Axolotl computes it.
int64_t steps_between(double count, const Config& config, int64_t num_steps) {
  const double share = 1.0 / (count * std::max(config.num_epochs, 1e-9));
  const auto steps =
      static_cast<int64_t>(std::ceil(static_cast<double>(num_steps) * std::min(share, 1.0) - 1e-9));
  return std::max<int64_t>(steps, 1);
}

// `strategy` is "" | no | steps | epoch; a step count or a count per epoch means steps.
Recurrence recurrence(const std::string& strategy, const std::optional<int64_t>& steps,
                      const std::optional<double>& per_epoch, const Config& config,
                      int64_t num_steps) {
  Recurrence result;
  if (strategy == "no") return result;
  if (strategy == "epoch") {
    result.each_epoch = true;
  } else if (steps && *steps > 0) {
    result.every_steps = *steps;
  } else if (per_epoch && *per_epoch > 0) {
    result.every_steps = steps_between(*per_epoch, config, num_steps);
  } else if (strategy == "steps") {
    result.every_steps = 500;  // Transformers' default
  } else if (!steps && !per_epoch) {
    result.each_epoch = true;
  }
  return result;
}

void plan_by_epochs(RunPlan& plan, const Config& config,
                    const std::function<int64_t(int64_t)>& steps_of_epoch) {
  const auto whole = static_cast<int64_t>(std::floor(config.num_epochs));
  const double rest = config.num_epochs - static_cast<double>(whole);
  for (int64_t epoch = 0; epoch < whole; ++epoch) {
    plan.steps_in_epoch.push_back(steps_of_epoch(epoch));
    plan.num_steps += plan.steps_in_epoch.back();
  }
  if (rest < 1e-9) return;
  const int64_t steps = steps_of_epoch(whole);
  plan.steps_in_epoch.push_back(steps);
  plan.num_steps += static_cast<int64_t>(std::ceil(rest * static_cast<double>(steps) - 1e-9));
}

}  // namespace

int64_t RunPlan::num_checkpoints_after(int64_t step) const {
  // max_steps may cut the last epoch short; saves_at_end then stands for its end.
  int64_t count = 0, last_saved = 0;
  if (checkpoint.every_steps > 0) {
    last_saved = num_steps - num_steps % checkpoint.every_steps;
    count =
        std::max<int64_t>(num_steps / checkpoint.every_steps - step / checkpoint.every_steps, 0);
  } else if (checkpoint.each_epoch) {
    int64_t epoch_end = 0;
    for (const int64_t steps : steps_in_epoch) {
      epoch_end += steps;
      if (epoch_end > num_steps) break;
      last_saved = epoch_end;
      count += epoch_end > step ? 1 : 0;
    }
  }
  return count + (saves_at_end && last_saved < num_steps && step < num_steps ? 1 : 0);
}

RunPlan make_run_plan(const Config& config, bool has_validation,
                      const std::function<int64_t(int64_t epoch)>& batches_of_epoch) {
  const auto steps_of_epoch = [&](int64_t epoch) {
    return steps_of(batches_of_epoch(epoch), config.gradient_accumulation_steps);
  };
  if (steps_of_epoch(0) < 1)
    throw UsageError(
        "datasets: no row is left to train on; check the data files, sequence_len and "
        "excess_length_strategy");
  RunPlan plan;
  if (config.max_steps > 0) {
    while (plan.num_steps < config.max_steps) {
      plan.steps_in_epoch.push_back(
          steps_of_epoch(static_cast<int64_t>(plan.steps_in_epoch.size())));
      plan.num_steps += plan.steps_in_epoch.back();
    }
    plan.num_steps = config.max_steps;
  } else {
    plan_by_epochs(plan, config, steps_of_epoch);
  }
  if (has_validation)
    plan.evaluation = recurrence(config.eval_strategy, config.eval_steps, config.evals_per_epoch,
                                 config, plan.num_steps);
  plan.checkpoint = recurrence(config.save_strategy, config.save_steps, config.saves_per_epoch,
                               config, plan.num_steps);
  plan.saves_at_end = config.save_strategy != "no";
  return plan;
}

}  // namespace tune
