#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/tune/report/report_fixture.h"
#include "tune/files/atomic_write.h"
#include "tune/report/run_log.h"

namespace tune {
namespace {

class HtmlReportTest : public ReportTest {};

nlohmann::json embedded_data(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST_F(HtmlReportTest, Page_HoldsEveryRecordAndNothingFromElsewhere) {
  RunHistory history;
  history.shape.num_steps = 5;
  for (int64_t step = 1; step <= 5; ++step) history.steps.push_back(make_step(step));
  const std::string page = render_html_report(config_, history);
  EXPECT_EQ(embedded_data(page)["steps"].size(), 5u);
  EXPECT_EQ(embedded_data(page)["steps"][4]["loss"], make_step(5).loss);
  // Self-contained: the only address is SVG's namespace, which nothing fetches.
  std::string rest = page;
  const std::string svg = "http://www.w3.org/2000/svg";
  rest.erase(rest.find(svg), svg.size());
  EXPECT_EQ(rest.find("http"), std::string::npos);
}

TEST_F(HtmlReportTest, SampleWithScriptTag_CannotEndTheData) {
  RunHistory history;
  history.samples.push_back({0, "</script><script>alert(1)</script>", "<!-- x"});
  const std::string page = render_html_report(config_, history);
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_EQ(embedded_data(page)["samples"][0]["text"], "<!-- x");
}

TEST_F(HtmlReportTest, FailedRun_SaysSoWithTheError) {
  const std::unique_ptr<TrainEvents> report = make_html_report(config_);
  report->started(make_shape(6, 0));
  report->failed("the loss is not a number");
  const nlohmann::json data = embedded_data(read_file(config_.output_dir + "/report.html"));
  EXPECT_EQ(data["failed"], true);
  EXPECT_EQ(data["notes"][0], "the loss is not a number");
}

TEST_F(HtmlReportTest, ResumedRun_ShowsTheEarlierSteps) {
  {
    MetricsLog log(config_);
    log.started(RunShape{});
    for (int64_t step = 1; step <= 4; ++step) log.stepped(make_step(step));
  }
  const std::unique_ptr<TrainEvents> report = make_html_report(config_);
  report->started(make_shape(6, 3));
  report->stepped(make_step(4));
  report->finished(config_.output_dir, false);
  const nlohmann::json data = embedded_data(read_file(config_.output_dir + "/report.html"));
  ASSERT_EQ(data["steps"].size(), 4u);
  EXPECT_EQ(data["finished"], true);
}

}  // namespace
}  // namespace tune
