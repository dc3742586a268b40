#include "cli/terminal.h"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace cli {
namespace {

template <typename... Values>
std::string printed(const char* form, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), form, values...);
  return text.data();
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return printed("%lld s", static_cast<long long>(whole));
  if (whole < 3600)
    return printed("%lld min %02lld s", static_cast<long long>(whole / 60),
                   static_cast<long long>(whole % 60));
  return printed("%lld h %02lld min", static_cast<long long>(whole / 3600),
                 static_cast<long long>(whole % 3600 / 60));
}

std::string count_text(int64_t count) {
  std::string text = std::to_string(count);
  for (int64_t at = static_cast<int64_t>(text.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string parameters_text(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return printed("%.2f B", value / 1e9);
  if (value >= 1e6) return printed("%.1f M", value / 1e6);
  return printed("%.1f K", value / 1e3);
}

bool stdout_has_colours() {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

void print_data_note(const tune::DatasetStats& stats) {
  std::cout.flush();
  std::fflush(stdout);
  if (!stats.note.empty()) std::fprintf(stderr, "note: %s\n", stats.note.c_str());
}

Progress::Progress(std::string label)
    : label_(std::move(label)), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (has_line_) std::fputs("\r\033[K", stderr);
}

void Progress::operator()(int64_t done, int64_t total) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal_ || (done < total && now - last_ < std::chrono::milliseconds(100))) return;
  last_ = now;
  has_line_ = true;
  std::fprintf(stderr, "\r\033[K%s  %s/%s", label_.c_str(), count_text(done).c_str(),
               count_text(total).c_str());
  std::fflush(stderr);
}

void TrainPrinter::started(const tune::RunShape& shape) {
  shape_ = shape;
  const double share =
      100.0 * static_cast<double>(shape.num_trainable) / static_cast<double>(shape.num_parameters);
  std::printf("  trains     %s of %s parameters (%.2f %%)\n",
              parameters_text(shape.num_trainable).c_str(),
              parameters_text(shape.num_parameters).c_str(), share);
  std::printf("  steps      %lld (%.4g epochs), batch %lld x %lld",
              static_cast<long long>(shape.num_steps), shape.num_epochs,
              static_cast<long long>(config_.micro_batch_size),
              static_cast<long long>(config_.gradient_accumulation_steps));
  if (config_.sample_packing) std::printf(", packed %.1f %%", 100.0 * shape.packing_efficiency);
  std::printf("\n  writes to  %s\n\n", config_.output_dir.c_str());
  if (shape.first_step > 0) {
    std::printf("Resuming after step %lld from %s\n", static_cast<long long>(shape.first_step),
                shape.resumed_from.c_str());
  }
  std::fflush(stdout);
}

// The largest so far, of a GPU; main memory is rarely what runs out first.
static std::string memory_text(const tune::StepRecord& r) {
  if (r.reserved_memory_bytes == 0) return "";
  return printed("  %.1f GiB", static_cast<double>(r.peak_memory_bytes) / (1 << 30));
}

void TrainPrinter::stepped(const tune::StepRecord& r) {
  if (num_steps_++ == 0) first_loss_ = r.loss;
  last_loss_ = r.loss;
  const bool is_logged = config_.logging_steps <= 1 || r.step % config_.logging_steps == 0 ||
                         r.step == 1 || r.step == shape_.num_steps;
  if (!is_logged) return;
  const int width = static_cast<int>(std::to_string(shape_.num_steps).size());
  std::printf("step %*lld/%lld  loss %.4f  lr %.2e  grad %.3f  %6.0f tokens/s%s  %s left\n", width,
              static_cast<long long>(r.step), static_cast<long long>(shape_.num_steps), r.loss,
              r.learning_rate, r.grad_norm, r.tokens_per_second, memory_text(r).c_str(),
              duration_text(r.seconds_left).c_str());
  std::fflush(stdout);
}

void TrainPrinter::evaluated(const tune::EvalRecord& r) {
  if (num_evaluations_++ == 0) first_eval_loss_ = r.loss;
  last_eval_loss_ = r.loss;
  std::printf("evaluation at step %lld: loss %.4f, perplexity %.2f (%s tokens, %s)\n",
              static_cast<long long>(r.step), r.loss, r.perplexity,
              count_text(r.num_tokens).c_str(), duration_text(r.seconds).c_str());
  std::fflush(stdout);
}

void TrainPrinter::sampled(const tune::SampleRecord& r) {
  const std::string when = r.step == 0 ? "Before training" : "After step " + std::to_string(r.step);
  std::printf("\n%s, asked: %s\n  %s\n\n", when.c_str(), r.prompt.c_str(), r.text.c_str());
  std::fflush(stdout);
}

void TrainPrinter::checkpointed(const std::string& folder, int64_t) {
  std::printf("checkpoint %s\n", folder.c_str());
  std::fflush(stdout);
}

void TrainPrinter::noted(const std::string& text) {
  std::fflush(stdout);
  std::fprintf(stderr, "note: %s\n", text.c_str());
}

void TrainPrinter::finished(const std::string& output_dir, bool interrupted) {
  std::printf("\n%s", interrupted ? "Interrupted; progress is saved." : "Done.");
  if (num_steps_ == 0) {
    std::printf(" There was nothing left to train.\n");
  } else if (num_evaluations_ > 1) {
    std::printf(" Evaluation loss %.4f -> %.4f in %lld steps.\n", first_eval_loss_, last_eval_loss_,
                static_cast<long long>(num_steps_));
  } else {
    std::printf(" Loss %.4f -> %.4f in %lld steps.\n", first_loss_, last_loss_,
                static_cast<long long>(num_steps_));
  }
  if (interrupted) {
    std::printf("  continue with  --resume_from_checkpoint true\n");
    return;
  }
  std::printf("  %-13s %s\n  %-13s %s/report.html (open it in a browser)\n",
              config_.uses_adapter() ? "adapter" : "model", output_dir.c_str(), "report",
              output_dir.c_str());
}

}  // namespace cli
