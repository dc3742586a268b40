// What a person sees while a command works: a progress line that overwrites itself on a terminal,
// and stays quiet in a file; numbers in words people use.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "tune/config/config.h"
#include "tune/data/dataset.h"
#include "tune/train/trainer.h"

namespace cli {

std::string duration_text(double seconds);   // "4 min 10 s"
std::string count_text(int64_t count);       // "61,204"
std::string parameters_text(int64_t count);  // "134.5 M"

// Colours are for a terminal that did not ask for none (NO_COLOR, https://no-color.org); a pipe or
// a file gets plain text.
bool stdout_has_colours();

// Why the prepared cache was not used or not written, to stderr; nothing when all went well.
void print_data_note(const tune::DatasetStats& stats);

// "Loading weights  120/272" on one line of stderr, at most 10 times a second; nothing where stderr
// is no terminal.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void operator()(int64_t done, int64_t total);

 private:
  std::string label_;
  bool is_terminal_;
  bool has_line_ = false;
  std::chrono::steady_clock::time_point last_;
};

// Prints a run to stdout: its shape, a line per logged step, evaluations, samples, notes and where
// the results are.
class TrainPrinter : public tune::TrainEvents {
 public:
  explicit TrainPrinter(const tune::Config& config) : config_(config) {}
  void started(const tune::RunShape& shape) override;
  void stepped(const tune::StepRecord& record) override;
  void evaluated(const tune::EvalRecord& record) override;
  void sampled(const tune::SampleRecord& record) override;
  void checkpointed(const std::string& folder, int64_t step) override;
  void noted(const std::string& text) override;
  void finished(const std::string& output_dir, bool interrupted) override;

 private:
  const tune::Config& config_;
  tune::RunShape shape_;
  double first_loss_ = 0.0, last_loss_ = 0.0;
  double first_eval_loss_ = 0.0, last_eval_loss_ = 0.0;
  int64_t num_evaluations_ = 0;
  int64_t num_steps_ = 0;
};

}  // namespace cli
