// The files a run leaves for people and tools: metrics.jsonl, a TensorBoard event file,
// report.html.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/train/trainer.h"

namespace tune {

// Several listeners as one.
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

 private:
  std::vector<TrainEvents*> listeners_;
};

// output_dir/metrics.jsonl: one JSON object a line, flushed each; appended to when a run resumes.
std::unique_ptr<TrainEvents> make_metrics_log(const Config& config);
// output_dir/runs/<time>/events.out.tfevents.*: scalars under the names Transformers uses
// (train/loss, eval/loss, ...).
std::unique_ptr<TrainEvents> make_tensorboard_log(const Config& config);
// output_dir/report.html: one self-contained page with curves, rewritten as the run goes on.
std::unique_ptr<TrainEvents> make_html_report(const Config& config);

}  // namespace tune
