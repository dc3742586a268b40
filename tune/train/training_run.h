// TrainingRun: the parts of one run and the order they work in. Used by train() only.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "tune/data/dataset.h"
#include "tune/model/language_model.h"
#include "tune/train/adamw.h"
#include "tune/train/checkpoint_store.h"
#include "tune/train/loss_watch.h"
#include "tune/train/lr_schedule.h"
#include "tune/train/run_plan.h"
#include "tune/train/trainer.h"
#include "tune/train/training_state.h"
#include "tune/train/training_step.h"

namespace tune {

class TrainingRun {
 public:
  // References must outlive the run; `stop` may be null.
  TrainingRun(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
              const PreparedData& data, TrainEvents& events, const std::atomic<bool>* stop);

  TrainResult run();

 private:
  using Clock = std::chrono::steady_clock;

  void resume();
  void announce(const std::string& resumed_from);
  void run_epoch();
  std::vector<Batch> batches_of_step() const;
  void take_step();
  void report_step(const StepOutcome& outcome, double learning_rate, double seconds);
  void advance(const StepOutcome& outcome);
  void after_step();
  // Leaves state_.evaluation_due true when it was stopped on the way.
  void evaluate_now();
  void evaluate_before_first_step();
  void warn_of_full_disk();
  void answer_sample();
  // False when the checkpoint could not be written, which is noted and no reason to stop.
  bool save_checkpoint();
  void fill_checkpoint(const std::string& folder);
  bool stop_asked() const { return stop_ != nullptr && stop_->load(); }
  bool is_done() const { return state_.step >= plan_.num_steps; }
  double seconds_left() const;
  TrainResult result(bool interrupted) const;

  const Config& config_;
  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  const PreparedData& data_;
  TrainEvents& events_;
  const std::atomic<bool>* stop_;

  BatchPlan batches_;
  RunPlan plan_;
  LrSchedule schedule_;
  AdamW optimizer_;
  LossWatch watch_;
  CheckpointStore checkpoints_;
  TrainingState state_;
  int64_t last_saved_step_ = -1;
  Clock::time_point start_ = Clock::now();
  std::deque<double> recent_seconds_;  // of the last steps, for the estimate of what is left
};

}  // namespace tune
