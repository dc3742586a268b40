// A folder of its own for each test, and records with values that no default has.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/support/temp_folder.h"
#include "tune/config/config.h"
#include "tune/train/trainer.h"

namespace tune {

class ReportTest : public testing::Test {
 protected:
  ReportTest() { config_.output_dir = folder_.path(); }

  static RunShape make_shape(int64_t num_steps, int64_t first_step) {
    RunShape shape;
    shape.num_steps = num_steps;
    shape.first_step = first_step;
    return shape;
  }

  static StepRecord make_step(int64_t step) {
    StepRecord record;
    record.step = step;
    record.epoch = 0.1 * static_cast<double>(step);
    record.loss = 3.0 / static_cast<double>(step);
    record.grad_norm = 0.7;
    record.learning_rate = 1.25e-4;
    record.tokens_per_second = 321.5;
    record.seconds = 1.5;
    record.tokens_seen = 100 * step;
    record.peak_memory_bytes = int64_t{3} << 29;
    return record;
  }

  const test_support::TempFolder folder_;
  Config config_;
};

}  // namespace tune
