#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "tune/files/atomic_write.h"
#include "tune/report/record_json.h"
#include "tune/report/run_log.h"

namespace tune {
namespace {

// Text of any encoding becomes valid UTF-8 JSON: a sampled answer may hold half a character.
std::string to_line(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void add_record(RunHistory& history, const nlohmann::json& json, int64_t last_step) {
  const std::string kind = json.value("kind", "");
  if (json.value("step", int64_t{0}) > last_step) return;
  if (kind == "step") history.steps.push_back(step_from_json(json));
  if (kind == "evaluation") history.evaluations.push_back(evaluation_from_json(json));
  if (kind == "sample") history.samples.push_back(sample_from_json(json));
  if (kind == "note") history.notes.push_back(json.value("text", ""));
}

bool is_after(const nlohmann::json& json, int64_t last_step) {
  if (!json.is_object()) return false;
  const auto step = json.find("step");
  return step != json.end() && step->is_number() &&
         step->get<double>() > static_cast<double>(last_step);
}

// All lines but those of later steps and the half of one that a killed run was writing. What other
// programs wrote stays, whatever it is.
std::string lines_up_to(const std::string& path, int64_t last_step) {
  std::ifstream in(path);
  std::string kept, line;
  while (std::getline(in, line)) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool is_cut = in.eof() && json.is_discarded();  // no newline ended it
    if (!is_cut && !is_after(json, last_step)) kept += line + "\n";
  }
  return kept;
}

}  // namespace

RunHistory read_metrics(const std::string& path, int64_t last_step) {
  RunHistory history;
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    try {
      add_record(history, json, last_step);
    } catch (const nlohmann::json::exception&) {
      continue;  // a line of another program; the report goes on without it
    }
  }
  return history;
}

MetricsLog::MetricsLog(const Config& config) : path_(config.output_dir + "/metrics.jsonl") {}

MetricsLog::~MetricsLog() {
  if (file_ >= 0) ::close(file_);
}

void MetricsLog::started(const RunShape& shape) {
  // Steps after the checkpoint are about to be done again; keeping both would show them twice.
  try {
    write_file_atomically(path_, shape.first_step > 0 ? lines_up_to(path_, shape.first_step) : "");
  } catch (const std::exception& error) {
    write_failure_ = error.what();
    return;
  }
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file_ < 0) write_failure_ = path_ + ": " + std::strerror(errno);
}

void MetricsLog::write_line(const std::string& line) {
  if (file_ < 0) return;
  if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size()) &&
      write_failure_.empty()) {
    write_failure_ = path_ + ": " + std::strerror(errno);
  }
}

void MetricsLog::stepped(const StepRecord& record) { write_line(to_line(to_json(record))); }
void MetricsLog::evaluated(const EvalRecord& record) { write_line(to_line(to_json(record))); }
void MetricsLog::sampled(const SampleRecord& record) { write_line(to_line(to_json(record))); }

void MetricsLog::noted(const std::string& text) {
  write_line(to_line({{"kind", "note"}, {"text", text}}));
}

}  // namespace tune
