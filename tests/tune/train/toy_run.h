// A training run over the toy model, with everything it reports kept for the test.
#pragma once

#include <string>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tests/tune/train/toy_model.h"
#include "tune/config/config.h"
#include "tune/data/dataset.h"
#include "tune/train/trainer.h"

namespace tune::testing {

using test_support::TempFolder;

struct Recorder : TrainEvents {
  void started(const RunShape& value) override { shape = value; }
  void stepped(const StepRecord& record) override {
    steps.push_back(record);
    if (stop_after > 0 && record.step == stop_after) stop = true;
  }
  void evaluated(const EvalRecord& record) override { evaluations.push_back(record); }
  void sampled(const SampleRecord& record) override { samples.push_back(record); }
  void checkpointed(const std::string&, int64_t step) override { saved_steps.push_back(step); }
  void noted(const std::string& text) override { notes += text + "\n"; }
  void finished(const std::string&, bool) override { ++num_finished; }

  RunShape shape;
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evaluations;
  std::vector<SampleRecord> samples;
  std::vector<int64_t> saved_steps;
  std::string notes;
  int num_finished = 0;
  int64_t stop_after = 0;  // raises `stop` after this step, as Ctrl-C would
  std::atomic<bool> stop{false};
};

// Two epochs over `num_rows` rows of 4 to 12 tokens that follow a simple rule, so that a model can
// learn them.
PreparedData toy_data(int64_t num_rows, int64_t num_validation = 0);
Config toy_config(const std::string& output_dir);

// train() with the toy tokenizer and the recorder's stop flag.
TrainResult train_toy(const Config& config, ToyModel& model, const PreparedData& data,
                      Recorder& recorder);

std::vector<double> losses_of(const Recorder& recorder);

}  // namespace tune::testing
