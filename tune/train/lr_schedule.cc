#include "tune/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tune/error.h"

namespace tune {

int64_t warmup_steps(const Config& config, int64_t num_steps) {
  const auto total = static_cast<double>(num_steps);
  int64_t steps = std::min<int64_t>(static_cast<int64_t>(0.03 * total), 100);
  if (config.warmup_ratio) steps = static_cast<int64_t>(*config.warmup_ratio * total);
  if (config.warmup_steps) steps = *config.warmup_steps;
  return steps == 1 ? 2 : std::max<int64_t>(steps, 0);
}

LrSchedule::Kind LrSchedule::parse_kind(const std::string& name) {
  if (name == "cosine") return Kind::cosine;
  if (name == "linear") return Kind::linear;
  if (name == "constant") return Kind::constant;
  if (name == "constant_with_warmup") return Kind::constant_with_warmup;
  throw UsageError("lr_scheduler: '" + name +
                   "' is not known; write cosine, linear, constant or constant_with_warmup");
}

LrSchedule::LrSchedule(const Config& config, int64_t num_steps)
    : kind_(parse_kind(config.lr_scheduler)),
      learning_rate_(config.learning_rate),
      min_ratio_(config.cosine_min_lr_ratio.value_or(0.0)),
      num_steps_(num_steps),
      warmup_steps_(kind_ == Kind::constant ? 0 : tune::warmup_steps(config, num_steps)) {}

double LrSchedule::factor(double current) const {
  const auto warmup = static_cast<double>(warmup_steps_);
  if (current < warmup) return current / std::max(1.0, warmup);
  const auto total = static_cast<double>(num_steps_);
  const double decay_steps = std::max(1.0, total - warmup);
  switch (kind_) {
    case Kind::constant:
    case Kind::constant_with_warmup:
      return 1.0;
    case Kind::linear:
      return std::max(0.0, (total - current) / decay_steps);
    case Kind::cosine:
      break;
  }
  const double progress = (current - warmup) / decay_steps;
  const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return std::max(0.0, wave * (1.0 - min_ratio_) + min_ratio_);
}

double LrSchedule::rate(int64_t step) const {
  return learning_rate_ * factor(static_cast<double>(step - 1));
}

}  // namespace tune
