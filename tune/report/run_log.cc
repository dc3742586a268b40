#include "tune/report/run_log.h"

namespace tune {

void EventFanout::started(const RunShape& shape) {
  for (TrainEvents* listener : listeners_) listener->started(shape);
}

void EventFanout::stepped(const StepRecord& record) {
  for (TrainEvents* listener : listeners_) listener->stepped(record);
}

void EventFanout::evaluated(const EvalRecord& record) {
  for (TrainEvents* listener : listeners_) listener->evaluated(record);
}

void EventFanout::sampled(const SampleRecord& record) {
  for (TrainEvents* listener : listeners_) listener->sampled(record);
}

void EventFanout::checkpointed(const std::string& folder, int64_t step) {
  for (TrainEvents* listener : listeners_) listener->checkpointed(folder, step);
}

void EventFanout::noted(const std::string& text) {
  for (TrainEvents* listener : listeners_) listener->noted(text);
}

void EventFanout::finished(const std::string& output_dir, bool interrupted) {
  for (TrainEvents* listener : listeners_) listener->finished(output_dir, interrupted);
}

void EventFanout::failed(const std::string& error) {
  for (TrainEvents* listener : listeners_) listener->failed(error);
}

}  // namespace tune
