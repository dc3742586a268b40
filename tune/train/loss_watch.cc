#include "tune/train/loss_watch.h"

#include <cmath>
#include <sstream>

#include "tune/error.h"

namespace tune {
namespace {

const char* dtype_name(const Config& config) {
  if (config.uses_bf16()) return "bf16";
  return config.fp16 ? "fp16" : "fp32";
}

const char* word_for(double value) {
  if (std::isnan(value)) return "not a number (NaN)";
  return value > 0 ? "infinite" : "minus infinite";
}

// A tenth of the rate, or the usual one where even that would be far too high.
double lower_rate(const Config& config) {
  const double usual = config.uses_adapter() ? 2e-4 : 2e-5;
  const double tenth = config.learning_rate / 10;
  return tenth > 10 * usual ? usual : tenth;
}

std::string remedies(const Config& config) {
  std::ostringstream text;
  text << "Likely causes, most likely first: learning_rate " << config.learning_rate
       << " is too high (try " << lower_rate(config) << "), too little warm-up "
       << "(warmup_ratio: 0.1)";
  if (config.max_grad_norm == 0) text << ", clipping is off (max_grad_norm: 1 is usual)";
  if (config.max_grad_norm > 1)
    text << ", clipping is loose (max_grad_norm is " << config.max_grad_norm << ", 1 is usual)";
  if (config.uses_bf16() || config.fp16)
    text << ", the range of " << dtype_name(config) << " (bf16: false, fp16: false trains in fp32)";
  text << ", or damaged base weights (regard evaluate --base shows the loss before training).";
  return text.str();
}

}  // namespace

void LossWatch::check_finite(double loss, int64_t step) const {
  if (std::isfinite(loss)) return;
  std::ostringstream text;
  text << "step " << step << ": the loss is " << word_for(loss)
       << ". The weights were not changed by this step, and every checkpoint is from before it. "
       << remedies(config_);
  throw Error(text.str());
}

void LossWatch::check_gradient_norm(double norm, double loss, int64_t step) const {
  if (std::isfinite(norm)) return;
  std::ostringstream text;
  text << "step " << step << ": the gradient norm is " << word_for(norm) << " although the loss is "
       << loss << ". The update was not applied. " << remedies(config_);
  throw Error(text.str());
}

void LossWatch::observe(double loss, int64_t step) {
  state_.steps_at_zero = loss < kZeroLoss ? state_.steps_at_zero + 1 : 0;
  if (state_.steps_at_zero >= kZeroPatience) {
    std::ostringstream text;
    text << "step " << step << ": the loss has been 0 (" << loss << ") for " << kZeroPatience
         << " steps. A language model does not reach this by learning. Likely causes: the labels "
            "repeat the prompt or are nearly all masked (regard preprocess --debug shows them), "
            "the data set has a handful of rows seen too often (num_epochs "
         << config_.num_epochs << "), learning_rate " << config_.learning_rate
         << " is too high, or an attention module without a correct backward in "
         << dtype_name(config_) << " (compare with eager_attention: true and bf16: false).";
    throw Error(text.str());
  }
  if (config_.loss_watchdog_threshold <= 0) return;
  const bool is_above = loss > config_.loss_watchdog_threshold;
  state_.steps_above_threshold = is_above ? state_.steps_above_threshold + 1 : 0;
  if (state_.steps_above_threshold < config_.loss_watchdog_patience) return;
  std::ostringstream text;
  text << "step " << step << ": the loss (" << loss << ") was above loss_watchdog_threshold "
       << config_.loss_watchdog_threshold << " for " << config_.loss_watchdog_patience
       << " steps (loss_watchdog_patience). " << remedies(config_);
  throw Error(text.str());
}

}  // namespace tune
