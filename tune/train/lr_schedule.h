// Learning-rate schedules, with the formulas of Hugging Face Transformers (optimization.py).
#pragma once

#include <cstdint>

#include "tune/config/config.h"

namespace tune {

// The rate of every optimizer step of a run.
class LrSchedule {
 public:
  // Takes lr_scheduler, learning_rate, cosine_min_lr_ratio and the warm-up keys from `config`.
  // Throws UsageError for a scheduler name that is not one of cosine, linear, constant,
  // constant_with_warmup.
  LrSchedule(const Config& config, int64_t num_steps);

  // The rate the update of step `step` (1-based) uses. With a warm-up the first step's is 0, as in
  // Transformers.
  double rate(int64_t step) const;
  int64_t warmup_steps() const { return warmup_steps_; }

 private:
  enum class Kind : uint8_t { cosine, linear, constant, constant_with_warmup };
  static Kind parse_kind(const std::string& name);
  double factor(double current) const;

  Kind kind_;
  double learning_rate_, min_ratio_;
  int64_t num_steps_, warmup_steps_;
};

// warmup_steps, else warmup_ratio * num_steps, else min(int(0.03 * num_steps), 100). 1 becomes 2,
// as in Axolotl: a single warm-up step would only be a step with rate 0.
int64_t warmup_steps(const Config& config, int64_t num_steps);

}  // namespace tune
