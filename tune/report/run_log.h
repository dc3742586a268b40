// The files a run leaves for people and tools: metrics.jsonl, a TensorBoard event file,
// report.html.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/train/trainer.h"

namespace tune {

// Several listeners as one; does not own them.
class EventFanout : public TrainEvents {
 public:
  void add(TrainEvents* listener) { listeners_.push_back(listener); }
  void started(const RunShape& shape) override;
  void stepped(const StepRecord& record) override;
  void evaluated(const EvalRecord& record) override;
  void sampled(const SampleRecord& record) override;
  void checkpointed(const std::string& folder, int64_t step) override;
  void noted(const std::string& text) override;
  void finished(const std::string& output_dir, bool interrupted) override;
  void failed(const std::string& error) override;

 private:
  std::vector<TrainEvents*> listeners_;
};

// Everything a run reported, in order; what metrics.jsonl holds and report.html shows.
struct RunHistory {
  RunShape shape;
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evaluations;
  std::vector<SampleRecord> samples;
  std::vector<std::string> notes;
  bool finished = false, interrupted = false, failed = false;
};

// Reads output_dir/metrics.jsonl up to and including `last_step`. A missing file gives an empty
// history, and a line that does not parse (a run killed while writing it) is left out.
RunHistory read_metrics(const std::string& path, int64_t last_step);

// output_dir/metrics.jsonl: one JSON object a line ("kind": step | evaluation | sample | note),
// flushed each. A resumed run keeps the lines up to the step it continues from, and those of other
// programs, and appends. A disk
// that is full never stops the training: the first failure is kept and told by write_failure().
class MetricsLog : public TrainEvents {
 public:
  explicit MetricsLog(const Config& config);
  ~MetricsLog() override;
  void started(const RunShape& shape) override;
  void stepped(const StepRecord& record) override;
  void evaluated(const EvalRecord& record) override;
  void sampled(const SampleRecord& record) override;
  void noted(const std::string& text) override;
  const std::string& write_failure() const { return write_failure_; }

 private:
  void write_line(const std::string& line);
  std::string path_;
  int file_ = -1;
  std::string write_failure_;
};

// output_dir/runs/<start time>/events.out.tfevents.*: scalars under the names Transformers uses
// (train/loss, eval/loss, train/learning_rate, train/grad_norm, ...). Format: TFRecord frames of
// tensorboard.Event protocol buffers.
std::unique_ptr<TrainEvents> make_tensorboard_log(const Config& config);

// output_dir/report.html: one self-contained page with curves, rewritten as the run goes on (at
// most every 5 seconds).
std::unique_ptr<TrainEvents> make_html_report(const Config& config);

// The page itself, for one history.
std::string render_html_report(const Config& config, const RunHistory& history);

}  // namespace tune
