// One optimizer step: forward and backward of its micro-batches, clipping, update.
#pragma once

#include <cstdint>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/sample.h"
#include "tune/model/language_model.h"
#include "tune/train/adamw.h"
#include "tune/train/loss_watch.h"

namespace tune {

struct StepOutcome {
  double loss = 0.0;       // mean over the trainable labels of the whole step
  double grad_norm = 0.0;  // before clipping
  int64_t num_tokens = 0, num_trainable = 0;
  bool has_update = false;  // false when no label was trainable: nothing was learnt
};

// `step` is 1-based. Every label of the step weighs the same, however the labels are spread over
// micro-batches: the sums of losses are divided by the number of labels of all of them. Throws
// tune::Error (see LossWatch) before the weights are touched when loss or gradient norm is not
// finite.
StepOutcome run_step(LanguageModel& model, AdamW& optimizer, const std::vector<Batch>& batches,
                     const Config& config, const LossWatch& watch, int64_t step,
                     double learning_rate);

// The counter dropout masks of a micro-batch start from: depends on the position in the run only,
// so that a resumed run draws the same.
uint64_t dropout_seed(int64_t seed, int64_t step, int64_t micro_batch);

}  // namespace tune
