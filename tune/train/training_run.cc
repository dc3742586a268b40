#include "tune/train/training_run.h"

#include <cstdio>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "tune/error.h"
#include "tune/model/device.h"
#include "tune/train/disk_space.h"
#include "tune/train/generate.h"
#include "tune/train/padding.h"
#include "tune/train/process_memory.h"
#include "tune/train/result_files.h"
#include "tune/train/resume.h"
#include "tune/train/run_identity.h"

namespace tune {
namespace {

// Steps the estimate of the time left is made from: long enough to smooth batches of different
// lengths, short enough to follow a machine that becomes busy.
constexpr size_t kRecentSteps = 32;

AdamWOptions optimizer_options(const Config& config) {
  return {config.adam_beta1, config.adam_beta2, config.adam_epsilon, config.weight_decay};
}

// Only packing in several groups gives epochs of different lengths; planning one epoch after the
// other would otherwise cost as much as shuffling the data once per epoch of the run.
RunPlan plan_of(const Config& config, const PreparedData& data, BatchPlan& batches) {
  const bool is_constant = !config.sample_packing || static_cast<int64_t>(data.train.size()) <=
                                                         config.sample_packing_group_size;
  return make_run_plan(config, !data.validation.empty(), [&, is_constant](int64_t epoch) {
    if (!is_constant) batches.start_epoch(epoch);
    return batches.num_batches();
  });
}

std::string new_run_id() {
  std::random_device random;
  char text[17];
  std::snprintf(text, sizeof(text), "%08x%08x", random(), random());
  return text;
}

int64_t count_elements(const std::vector<TrainableParameter>& parameters) {
  return std::accumulate(
      parameters.begin(), parameters.end(), int64_t{0},
      [](int64_t sum, const TrainableParameter& p) { return sum + p.tensor.numel(); });
}

void check_trainable(const PreparedData& data) {
  for (const Sample& sample : data.train)
    if (sample.num_trainable() > 0) return;
  throw UsageError(
      "datasets: no token of any training row is trainable, all labels are masked. Check "
      "train_on_inputs, roles_to_train and the field names; regard preprocess --debug shows the "
      "labels");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TrainingRun::TrainingRun(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
                         const PreparedData& data, TrainEvents& events,
                         const std::atomic<bool>* stop)
    : config_(config),
      model_(model),
      tokenizer_(tokenizer),
      data_(data),
      events_(events),
      stop_(stop),
      batches_(data.train, config, /*is_training=*/true, padding_id(tokenizer)),
      plan_(plan_of(config, data, batches_)),
      schedule_(config, plan_.num_steps),
      optimizer_(model.trainable_parameters(), optimizer_options(config)),
      watch_(config),
      checkpoints_(config.output_dir) {
  check_trainable(data);
  if (optimizer_.parameters().empty())
    throw UsageError(
        "nothing is trainable: no module is an adapter's target; check lora_target_modules or set "
        "lora_target_linear: true");
}

void TrainingRun::resume() {
  const auto identity = run_identity(config_, model_, tokenizer_, data_.train);
  std::vector<std::string> notes;
  const std::optional<std::string> folder = find_resume_folder(config_, notes);
  if (folder) {
    state_ = load_training_state(*folder);
    for (std::string& note : check_same_run(state_.identity, identity, *folder))
      notes.push_back(std::move(note));
    load_optimizer(*folder, optimizer_);
    model_.parameters_changed();
    watch_.restore(state_.watch);
    last_saved_step_ = state_.step;
  } else {
    state_.run_id = new_run_id();
    if (!checkpoints_.list().empty())
      notes.push_back(config_.output_dir +
                      " holds checkpoints of an earlier run; they stay (resume_from_checkpoint: "
                      "true would continue it)");
  }
  state_.identity = identity;
  state_.num_steps = plan_.num_steps;
  announce(folder.value_or(""));
  for (const std::string& note : notes) events_.noted(note);
}

void TrainingRun::announce(const std::string& resumed_from) {
  batches_.start_epoch(state_.epoch);
  RunShape shape;
  shape.num_steps = plan_.num_steps;
  shape.steps_per_epoch = plan_.steps_per_epoch();
  shape.num_parameters = model_.num_parameters();
  shape.num_trainable = count_elements(optimizer_.parameters());
  shape.num_epochs = config_.max_steps > 0 ? static_cast<double>(plan_.num_steps) /
                                                 static_cast<double>(plan_.steps_per_epoch())
                                           : config_.num_epochs;
  shape.packing_efficiency = batches_.packing_efficiency();
  shape.first_step = state_.step;
  shape.resumed_from = resumed_from;
  events_.started(shape);
}

TrainResult TrainingRun::run() {
  prepare_output_dir(config_);
  write_run_files(config_, tokenizer_);
  resume();
  warn_of_full_disk();
  start_ = Clock::now();
  if (state_.step == 0) answer_sample();
  if (state_.step == 0 || state_.evaluation_due) evaluate_before_first_step();
  while (!is_done() && !stop_asked()) run_epoch();
  const bool is_interrupted = !is_done() || state_.evaluation_due;
  if (is_interrupted) {
    if (last_saved_step_ != state_.step && !save_checkpoint())
      throw Error("interrupted at step " + std::to_string(state_.step) +
                  ", and the checkpoint could not be written; see the note above");
  } else {
    answer_sample();
    write_result(config_, model_, result(false), state_.last_evaluation);
  }
  events_.finished(config_.output_dir, is_interrupted);
  return result(is_interrupted);
}

void TrainingRun::run_epoch() {
  batches_.start_epoch(state_.epoch);
  const int64_t epoch = state_.epoch;
  while (state_.epoch == epoch && !is_done() && !stop_asked()) {
    take_step();
    after_step();
  }
}

std::vector<Batch> TrainingRun::batches_of_step() const {
  const int64_t accumulation = config_.gradient_accumulation_steps;
  const int64_t begin = state_.step_in_epoch * accumulation;
  const int64_t end = std::min(begin + accumulation, batches_.num_batches());
  std::vector<Batch> batches;
  for (int64_t i = begin; i < end; ++i) batches.push_back(batches_.batch(i));
  return batches;
}

void TrainingRun::take_step() {
  const auto start = Clock::now();
  const int64_t step = state_.step + 1;
  const double learning_rate = schedule_.rate(step);
  const StepOutcome outcome =
      run_step(model_, optimizer_, batches_of_step(), config_, watch_, step, learning_rate);
  const double seconds = seconds_since(start);
  advance(outcome);
  report_step(outcome, learning_rate, seconds);
  if (outcome.has_update) watch_.observe(outcome.loss, step);
  state_.watch = watch_.state();
}

void TrainingRun::advance(const StepOutcome& outcome) {
  const int64_t steps_here = plan_.steps_in_epoch[static_cast<size_t>(state_.epoch)];
  ++state_.step;
  ++state_.step_in_epoch;
  state_.epoch_progress =
      static_cast<double>(state_.epoch) +
      static_cast<double>(state_.step_in_epoch) / static_cast<double>(steps_here);
  if (state_.step_in_epoch == steps_here) {
    ++state_.epoch;
    state_.step_in_epoch = 0;
  }
  state_.tokens_seen += outcome.num_tokens;
  state_.trainable_tokens_seen += outcome.num_trainable;
  if (!outcome.has_update) return;
  state_.last_loss = outcome.loss;
  state_.loss_total += outcome.loss;
  ++state_.steps_with_loss;
}

void TrainingRun::report_step(const StepOutcome& outcome, double learning_rate, double seconds) {
  recent_seconds_.push_back(seconds);
  if (recent_seconds_.size() > kRecentSteps) recent_seconds_.pop_front();
  StepRecord record;
  record.step = state_.step;
  record.epoch = state_.epoch_progress;
  record.loss = outcome.loss;
  record.grad_norm = outcome.grad_norm;
  record.learning_rate = learning_rate;
  record.tokens_per_second = static_cast<double>(outcome.num_tokens) / std::max(seconds, 1e-9);
  record.seconds = seconds;
  record.seconds_left = seconds_left();
  record.tokens_seen = state_.tokens_seen;
  record.trainable_tokens_seen = state_.trainable_tokens_seen;
  const DeviceMemory memory = device_memory(model_.options().device);
  record.peak_memory_bytes = memory.peak > 0 ? memory.peak : peak_memory_bytes();
  record.allocated_memory_bytes = memory.allocated;
  record.reserved_memory_bytes = memory.reserved;
  if (!outcome.has_update)
    events_.noted("step " + std::to_string(state_.step) +
                  " had no trainable token (all labels masked); the weights did not change");
  else
    events_.stepped(record);
}

double TrainingRun::seconds_left() const {
  const double sum = std::accumulate(recent_seconds_.begin(), recent_seconds_.end(), 0.0);
  const double mean = sum / static_cast<double>(std::max<size_t>(recent_seconds_.size(), 1));
  return mean * static_cast<double>(plan_.num_steps - state_.step);
}

void TrainingRun::after_step() {
  const bool ends_epoch = state_.step_in_epoch == 0;
  if (plan_.evaluation.due(state_.step, ends_epoch || is_done())) evaluate_now();
  const bool is_last = is_done() && plan_.saves_at_end;
  if (is_last || plan_.checkpoint.due(state_.step, ends_epoch)) save_checkpoint();
}

void TrainingRun::evaluate_now() {
  std::optional<EvalRecord> record =
      evaluate_until(config_, model_, tokenizer_, data_.validation, stop_);
  state_.evaluation_due = !record.has_value();
  if (!record) return;
  record->step = state_.step;
  record->epoch = state_.epoch_progress;
  state_.last_evaluation = record;
  events_.evaluated(*record);
}

// Of the untouched model, or of the step whose evaluation Ctrl-C cut short; the checkpoint of that
// step then says that it is done.
void TrainingRun::evaluate_before_first_step() {
  const bool was_cut_short = std::exchange(state_.evaluation_due, false);
  if (!plan_.evaluation.asked_for()) return;
  evaluate_now();
  if (was_cut_short && !state_.evaluation_due) save_checkpoint();
}

void TrainingRun::answer_sample() {
  if (config_.sample_prompt.empty()) return;
  SampleRecord record;
  record.step = state_.step;
  record.prompt = config_.sample_prompt;
  record.text = answer_sample_prompt(config_, model_, tokenizer_);
  events_.sampled(record);
}

bool TrainingRun::save_checkpoint() {
  try {
    const std::string folder = checkpoints_.write(
        state_.step, state_.run_id, [this](const std::string& path) { fill_checkpoint(path); });
    last_saved_step_ = state_.step;
    events_.checkpointed(folder, state_.step);
  } catch (const Error& problem) {
    events_.noted("checkpoint of step " + std::to_string(state_.step) +
                  " skipped, training goes on: " + problem.what());
    return false;
  }
  try {
    checkpoints_.remove_oldest(state_.run_id, config_.save_total_limit);
  } catch (const Error& problem) {
    events_.noted(std::string("save_total_limit: ") + problem.what());
  }
  return true;
}

void TrainingRun::fill_checkpoint(const std::string& folder) {
  if (config_.uses_adapter())
    model_.save_adapter(folder, config_.base_model);
  else
    // f32 whatever the training dtype: these are the masters a resumed run continues from.
    model_.save_model(folder, torch::kFloat32, kMaxShardBytes);
  tokenizer_.save(folder);
  save_training_state(folder, state_, optimizer_, /*with_masters=*/config_.uses_adapter());
}

void TrainingRun::warn_of_full_disk() {
  int64_t num_own = 0;
  for (const Checkpoint& checkpoint : checkpoints_.list())
    num_own += checkpoint.run_id == state_.run_id ? 1 : 0;
  const int64_t num_trainable = count_elements(optimizer_.parameters());
  DiskNeed need;
  need.checkpoint_bytes = checkpoint_bytes(config_, model_.num_parameters(), num_trainable);
  need.num_checkpoints = checkpoints_at_once(plan_.num_checkpoints_after(state_.step),
                                             config_.save_total_limit, num_own);
  need.result_bytes = result_bytes(config_, model_.num_parameters(), num_trainable);
  const std::string warning =
      disk_warning(config_.output_dir, need, free_bytes(config_.output_dir));
  if (!warning.empty()) events_.noted(warning);
}

TrainResult TrainingRun::result(bool interrupted) const {
  TrainResult result;
  result.steps = state_.step;
  result.mean_loss =
      state_.loss_total / static_cast<double>(std::max<int64_t>(state_.steps_with_loss, 1));
  result.last_loss = state_.last_loss;
  result.seconds = seconds_since(start_);
  result.interrupted = interrupted;
  return result;
}

TrainResult train(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
                  const PreparedData& data, TrainEvents& events, const std::atomic<bool>* stop) {
  try {
    return TrainingRun(config, model, tokenizer, data, events, stop).run();
  } catch (const std::exception& error) {
    events.failed(error.what());
    throw;
  }
}

}  // namespace tune
