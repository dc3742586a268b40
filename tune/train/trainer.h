// The training loop: one call per run. Everything it reports goes through TrainEvents; it prints
// nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/dataset.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

class LanguageModel;

struct RunShape {
  int64_t num_steps = 0, steps_per_epoch = 0, num_parameters = 0, num_trainable = 0;
  double num_epochs = 0.0, packing_efficiency = 1.0;
  int64_t first_step = 0;  // > 0 when resumed
  std::string resumed_from;
};

// One optimizer step, for every log of it (terminal, metrics.jsonl, TensorBoard, report.html).
struct StepRecord {
  int64_t step = 0;  // 1-based
  double epoch = 0.0, loss = 0.0, grad_norm = 0.0, learning_rate = 0.0;
  double tokens_per_second = 0.0;  // tokens without padding, of this step
  double seconds = 0.0, seconds_left = 0.0;
  int64_t tokens_seen = 0, trainable_tokens_seen = 0;
  // Of the device that trains: its tensors at their largest and now, and what LibTorch's allocator
  // holds of it; on a CPU the process at its largest, and 0 for the others.
  int64_t peak_memory_bytes = 0, allocated_memory_bytes = 0, reserved_memory_bytes = 0;
};
struct EvalRecord {
  int64_t step = 0;
  double epoch = 0.0, loss = 0.0, perplexity = 0.0, seconds = 0.0;
  int64_t num_tokens = 0;
};
struct SampleRecord {  // the answer to config.sample_prompt before and after training
  int64_t step = 0;
  std::string prompt, text;
};

// Listeners of a run. All methods are called from the training thread, in order.
class TrainEvents {
 public:
  virtual ~TrainEvents() = default;
  virtual void started(const RunShape&) {}
  virtual void stepped(const StepRecord&) {}
  virtual void evaluated(const EvalRecord&) {}
  virtual void sampled(const SampleRecord&) {}
  virtual void checkpointed(const std::string& /*folder*/, int64_t /*step*/) {}
  virtual void noted(const std::string& /*text*/) {
  }  // "loss watchdog: ...", "disk full, checkpoint skipped: ..."
  virtual void finished(const std::string& /*output_dir*/, bool /*interrupted*/) {}
  // The run ends with this error, which train() throws next.
  virtual void failed(const std::string& /*error*/) {}
};

struct TrainResult {
  int64_t steps = 0;
  double mean_loss = 0.0, last_loss = 0.0, seconds = 0.0;
  bool interrupted = false;
};

// Creates output_dir and makes sure that files can be written there, before anything slow is
// loaded; clears what a killed run left half-written. Throws tune::Error naming the folder and the
// cause.
void prepare_output_dir(const Config& config);

// Trains, evaluates, checkpoints and saves the result into config.output_dir. When *stop becomes
// true (SIGINT) the step in progress is finished, or the evaluation in progress left after its
// batch (a resumed run repeats it), a checkpoint written and the result returned with
// interrupted = true. Throws tune::Error with an explanation when the loss is NaN, infinite or
// stuck at 0, at the step it happens; the last good checkpoint stays.
TrainResult train(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
                  const PreparedData& data, TrainEvents& events,
                  const std::atomic<bool>* stop = nullptr);

// Mean loss over the validation rows (and the training rows where asked).
EvalRecord evaluate(const Config& config, LanguageModel& model, const Tokenizer& tokenizer,
                    const std::vector<Sample>& samples);

// The same; none when *stop became true before it was done, which is looked at before each batch.
std::optional<EvalRecord> evaluate_until(const Config& config, LanguageModel& model,
                                         const Tokenizer& tokenizer,
                                         const std::vector<Sample>& samples,
                                         const std::atomic<bool>* stop);

}  // namespace tune
