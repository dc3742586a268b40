#include <chrono>
#include <filesystem>
#include <string>

#include "regard/attention.h"
#include "tune/config/check.h"
#include "tune/files/atomic_write.h"
#include "tune/report/record_json.h"
#include "tune/report/report_template.h"
#include "tune/report/run_log.h"

namespace tune {
namespace {

template <typename Record>
nlohmann::json to_json_array(const std::vector<Record>& records) {
  nlohmann::json array = nlohmann::json::array();
  for (const Record& record : records) array.push_back(to_json(record));
  return array;
}

std::string subtitle(const Config& config) {
  std::string text = config.base_model;
  text += config.uses_adapter() ? ", " + config.adapter + " r " + std::to_string(config.lora_r)
                                : ", full fine-tuning";
  text += ", attention " + std::string(regard::module_info(config.attention).name);
  text += config.uses_bf16() ? ", bf16" : ", fp32";
  return text + ", Regard " + std::string(regard::version());
}

std::string page_data(const Config& config, const RunHistory& history) {
  const std::string name = std::filesystem::path(config.source_path).stem().string();
  const nlohmann::json data = {
      {"title", name.empty() ? config.output_dir : name},
      {"subtitle", subtitle(config)},
      {"shape",
       {{"num_steps", history.shape.num_steps},
        {"num_parameters", history.shape.num_parameters},
        {"num_trainable", history.shape.num_trainable}}},
      {"steps", to_json_array(history.steps)},
      {"evaluations", to_json_array(history.evaluations)},
      {"samples", to_json_array(history.samples)},
      {"notes", history.notes},
      {"finished", history.finished},
      {"interrupted", history.interrupted},
      {"failed", history.failed},
      {"configuration", config_to_yaml(config)},
  };
  return data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Inside <script>, "</script" and "<!--" would end or hide the data; \u003c is the same character
// to JSON.
std::string without_angle_brackets(const std::string& json) {
  std::string safe;
  safe.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

class HtmlReport : public TrainEvents {
 public:
  explicit HtmlReport(const Config& config) : config_(config) {}

  void started(const RunShape& shape) override {
    if (shape.first_step > 0)
      history_ = read_metrics(config_.output_dir + "/metrics.jsonl", shape.first_step);
    history_.shape = shape;
    write();
  }
  void stepped(const StepRecord& record) override {
    history_.steps.push_back(record);
    // Rewriting costs time linear in the run; every 5 s is as live as anyone looks.
    if (std::chrono::steady_clock::now() - written_ > std::chrono::seconds(5)) write();
  }
  void evaluated(const EvalRecord& record) override { history_.evaluations.push_back(record); }
  void sampled(const SampleRecord& record) override { history_.samples.push_back(record); }
  void noted(const std::string& text) override { history_.notes.push_back(text); }
  void finished(const std::string&, bool interrupted) override {
    history_.finished = true;
    history_.interrupted = interrupted;
    write();
  }

  void failed(const std::string& error) override {
    history_.failed = true;
    history_.notes.push_back(error);
    write();
  }

 private:
  void write() {
    written_ = std::chrono::steady_clock::now();
    try {
      write_file_atomically(config_.output_dir + "/report.html",
                            render_html_report(config_, history_));
    } catch (const std::exception&) {
      // A full disk must not stop the training; the page that is there stays whole.
    }
  }

  const Config& config_;
  RunHistory history_;
  std::chrono::steady_clock::time_point written_;
};

}  // namespace

std::string render_html_report(const Config& config, const RunHistory& history) {
  constexpr std::string_view kPlaceholder = "@REGARD_REPORT_DATA@";
  std::string page(kReportTemplate);
  return page.replace(page.find(kPlaceholder), kPlaceholder.size(),
                      without_angle_brackets(page_data(config, history)));
}

std::unique_ptr<TrainEvents> make_html_report(const Config& config) {
  return std::make_unique<HtmlReport>(config);
}

}  // namespace tune
