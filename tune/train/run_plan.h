// RunPlan: how many steps a run has, and after which of them it evaluates and saves.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tune/config/config.h"

namespace tune {

// When something recurring happens.
struct Recurrence {
  int64_t every_steps = 0;  // 0 = not by steps
  bool each_epoch = false;
  bool asked_for() const { return every_steps > 0 || each_epoch; }
  bool due(int64_t step, bool ends_epoch) const {
    return (each_epoch && ends_epoch) || (every_steps > 0 && step % every_steps == 0);
  }
};

struct RunPlan {
  // Optimizer steps of each epoch that is (at least partly) run. Packing may give different epochs
  // different lengths. The last accumulation of an epoch may be short; it is a step of its own.
  std::vector<int64_t> steps_in_epoch;
  int64_t num_steps = 0;
  Recurrence evaluation, checkpoint;
  bool saves_at_end = true;  // false with save_strategy: no
  // Checkpoints that are still written after `step` of num_steps.
  int64_t num_checkpoints_after(int64_t step) const;
  int64_t steps_per_epoch() const { return steps_in_epoch.empty() ? 0 : steps_in_epoch.front(); }
};

// `batches_of_epoch(e)` is the number of micro-batches of epoch e (0-based). max_steps wins over
// num_epochs. Throws UsageError when there is nothing to train on.
RunPlan make_run_plan(const Config& config, bool has_validation,
                      const std::function<int64_t(int64_t epoch)>& batches_of_epoch);

}  // namespace tune
