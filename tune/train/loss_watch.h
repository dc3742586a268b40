// LossWatch: notices a run that has gone wrong at the step it does, and says what to try.
#pragma once

#include <cstdint>
#include <string>

#include "tune/config/config.h"

namespace tune {

// What has to survive a resume, so that a resumed run stops where the whole one would have.
struct LossWatchState {
  int64_t steps_at_zero = 0;          // in a row
  int64_t steps_above_threshold = 0;  // in a row, of loss_watchdog_threshold
};

class LossWatch {
 public:
  explicit LossWatch(const Config& config) : config_(config) {}

  // All three throw tune::Error with the likely causes and what to do about them.

  // Before the gradients of a step are used: the loss is not a number or infinite.
  void check_finite(double loss, int64_t step) const;
  // Before an update: the gradient norm is not a number or infinite.
  void check_gradient_norm(double norm, double loss, int64_t step) const;
  // After a step that had labels: stuck at 0 (below kZeroLoss for kZeroPatience steps), or above
  // loss_watchdog_threshold for loss_watchdog_patience steps.
  void observe(double loss, int64_t step);

  const LossWatchState& state() const { return state_; }
  void restore(const LossWatchState& state) { state_ = state; }

  // Cross entropy this low means a probability of 0.999999 on every label: memorised or broken.
  static constexpr double kZeroLoss = 1e-6;
  static constexpr int64_t kZeroPatience = 3;

 private:
  const Config& config_;
  LossWatchState state_;
};

}  // namespace tune
