// TrainingState: where a run stands, and how it gets into a checkpoint folder and back.
//
// optimizer.safetensors holds exp_avg.NAME and exp_avg_sq.NAME of every trained parameter and, for
// adapters, master.NAME (the f32 weights themselves; a full model's are in its model.safetensors).
// trainer_state.json holds the rest, with global_step, epoch and max_steps where Transformers'
// tools look for them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "tune/train/adamw.h"
#include "tune/train/loss_watch.h"
#include "tune/train/trainer.h"

namespace tune {

struct TrainingState {
  int64_t step = 0;           // optimizer steps done
  int64_t epoch = 0;          // 0-based epoch the next step is in
  int64_t step_in_epoch = 0;  // steps done of that epoch
  int64_t num_steps = 0;      // of the whole run, as planned when the state was saved
  double epoch_progress = 0.0;
  int64_t tokens_seen = 0, trainable_tokens_seen = 0;
  double loss_total = 0.0, last_loss = 0.0;  // sum over steps; of the last step
  int64_t steps_with_loss = 0;
  LossWatchState watch;
  // That of `step` was left unfinished when the run was stopped; a resumed run begins with it.
  bool evaluation_due = false;
  std::optional<EvalRecord> last_evaluation;
  std::string run_id;
  std::map<std::string, std::string> identity;  // see run_identity.h
};

// Writes both files. `with_masters` false when the folder holds the parameters under their own
// names in model.safetensors.
void save_training_state(const std::string& folder, const TrainingState& state,
                         const AdamW& optimizer, bool with_masters);

// trainer_state.json alone. Throws tune::Error naming file and key.
TrainingState load_training_state(const std::string& folder);

// Puts moments and masters back, bit for bit. Throws tune::Error naming a tensor that is missing
// or has another shape.
void load_optimizer(const std::string& folder, AdamW& optimizer);

}  // namespace tune
