#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/tune/report/report_fixture.h"
#include "tune/report/run_log.h"

namespace tune {
namespace {

class MetricsLogTest : public ReportTest {
 protected:
  std::string path() const { return config_.output_dir + "/metrics.jsonl"; }

  void write_steps(int64_t first, int64_t last) {
    MetricsLog log(config_);
    log.started(make_shape(10, first - 1));
    for (int64_t step = first; step <= last; ++step) log.stepped(make_step(step));
  }
};

TEST_F(MetricsLogTest, Steps_ReadBackAsWritten) {
  write_steps(1, 3);
  const RunHistory history = read_metrics(path(), 100);
  ASSERT_EQ(history.steps.size(), 3u);
  const StepRecord expected = make_step(2);
  EXPECT_EQ(history.steps[1].step, 2);
  EXPECT_EQ(history.steps[1].loss, expected.loss);
  EXPECT_EQ(history.steps[1].learning_rate, expected.learning_rate);
  EXPECT_EQ(history.steps[1].peak_memory_bytes, expected.peak_memory_bytes);
}

TEST_F(MetricsLogTest, ResumedRun_ForgetsStepsAfterTheCheckpointOnly) {
  write_steps(1, 6);
  write_steps(5, 7);  // resumes after step 4
  const RunHistory history = read_metrics(path(), 100);
  ASSERT_EQ(history.steps.size(), 7u);
  for (size_t i = 0; i < history.steps.size(); ++i)
    EXPECT_EQ(history.steps[i].step, static_cast<int64_t>(i) + 1);
}

TEST_F(MetricsLogTest, FreshRun_StartsAnEmptyFile) {
  write_steps(1, 6);
  write_steps(1, 2);
  EXPECT_EQ(read_metrics(path(), 100).steps.size(), 2u);
}

TEST_F(MetricsLogTest, HalfWrittenLastLine_IsLeftOut) {
  write_steps(1, 2);
  std::ofstream(path(), std::ios::app) << R"({"kind":"step","step":3,"lo)";
  EXPECT_EQ(read_metrics(path(), 100).steps.size(), 2u);
}

TEST_F(MetricsLogTest, LinesOfOtherPrograms_StayAndStopNothing) {
  write_steps(1, 2);
  const std::string foreign =
      "{\"step\":\"three\"}\n{\"step\":null}\n{\"step\":[9]}\n[9]\n# a remark\n\n"
      "{\"step\":-1e300}\n{\"mine\":1}\n";
  std::ofstream(path(), std::ios::app) << foreign << "{\"step\":1e300}\n{\"step\":3,\"lo";
  MetricsLog log(config_);
  log.started(make_shape(10, 2));
  log.stepped(make_step(3));
  EXPECT_EQ(log.write_failure(), "");
  EXPECT_EQ(read_metrics(path(), 100).steps.size(), 3u);
  std::ifstream in(path());
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_NE(text.find(foreign), std::string::npos) << text;
  EXPECT_EQ(text.find("\"lo\n"), std::string::npos) << "half a line was kept: " << text;
  EXPECT_EQ(text.find("{\"step\":1e300}"), std::string::npos) << text;
}

TEST_F(MetricsLogTest, NanLoss_IsNullAndReadsBackAsNan) {
  {
    MetricsLog log(config_);
    log.started(RunShape{});
    StepRecord record = make_step(1);
    record.loss = std::numeric_limits<double>::quiet_NaN();
    log.stepped(record);
  }
  const RunHistory history = read_metrics(path(), 100);
  ASSERT_EQ(history.steps.size(), 1u);
  EXPECT_TRUE(std::isnan(history.steps[0].loss));
}

TEST_F(MetricsLogTest, SampleWithHalfACharacter_StaysValidJson) {
  {
    MetricsLog log(config_);
    log.started(RunShape{});
    log.sampled({5, "prompt", "cut \xE2\x82"});
  }
  const RunHistory history = read_metrics(path(), 100);
  ASSERT_EQ(history.samples.size(), 1u);
  EXPECT_EQ(history.samples[0].text.rfind("cut ", 0), 0u);
}

TEST_F(MetricsLogTest, MissingFolder_IsToldAndStopsNothing) {
  config_.output_dir += "/is/not/there";
  MetricsLog log(config_);
  log.started(RunShape{});
  log.stepped(make_step(1));
  EXPECT_NE(log.write_failure().find("metrics.jsonl"), std::string::npos) << log.write_failure();
}

}  // namespace
}  // namespace tune
