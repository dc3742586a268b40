// regard train: check the file, load, train, save.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "regard/attention.h"
#include "tune/config/check.h"
#include "tune/data/dataset.h"
#include "tune/report/run_log.h"
#include "tune/train/session.h"
#include "tune/train/trainer.h"

namespace cli {
namespace {

std::atomic<bool> stop_requested{false};

// The first Ctrl-C asks for a checkpoint after the step in progress; a second one ends the program
// at once.
void on_interrupt(int signal_number) {
  stop_requested = true;
  std::signal(signal_number, SIG_DFL);
}

void print_heading(const tune::Config& config) {
  const regard::Machine machine = tune::training_machine();
  std::printf("Regard %s on %s (", std::string(regard::version()).c_str(),
              machine.device_name.c_str());
  if (machine.kind == regard::DeviceKind::cpu) {
    std::printf("%d threads, %s)\n\n", regard::num_threads(),
                std::string(regard::active_target()).c_str());
  } else {
    std::printf("sm_%d, %lld GiB)\n\n", machine.compute_capability,
                static_cast<long long>(machine.memory_bytes >> 30));
  }
  std::printf("  attention  %s, %s\n",
              std::string(regard::module_info(config.attention).name).c_str(),
              config.uses_bf16() ? "bf16" : "fp32");
  std::fflush(stdout);
}

void print_data(const tune::PreparedData& data) {
  const tune::DatasetStats& stats = data.stats;
  std::printf("  data       %s rows for training, %s for evaluation, %s tokens%s\n",
              count_text(static_cast<int64_t>(data.train.size())).c_str(),
              count_text(static_cast<int64_t>(data.validation.size())).c_str(),
              count_text(stats.num_tokens).c_str(),
              stats.from_cache ? " (from the prepared cache)" : "");
  const int64_t dropped =
      stats.num_dropped_long + stats.num_dropped_short + stats.num_dropped_untrainable;
  if (dropped > 0) {
    std::printf(
        "             %s rows left out: %s longer than sequence_len, %s too short, %s without a "
        "token to learn\n",
        count_text(dropped).c_str(), count_text(stats.num_dropped_long).c_str(),
        count_text(stats.num_dropped_short).c_str(),
        count_text(stats.num_dropped_untrainable).c_str());
  }
  if (stats.num_truncated > 0)
    std::printf("             %s rows cut to sequence_len\n",
                count_text(stats.num_truncated).c_str());
  print_data_note(stats);
}

void print_model(const tune::Config& config, const tune::LanguageModel& model) {
  const tune::ModelConfig& shape = model.config();
  std::printf(
      "  model      %s: %s, %lld layers, hidden %lld, %lld/%lld heads of %lld\n",
      std::filesystem::path(config.base_model).filename().string().c_str(),
      std::string(tune::architecture_name(shape.architecture)).c_str(),
      static_cast<long long>(shape.num_hidden_layers), static_cast<long long>(shape.hidden_size),
      static_cast<long long>(shape.num_attention_heads),
      static_cast<long long>(shape.num_key_value_heads), static_cast<long long>(shape.head_dim));
  std::fflush(stdout);
}

tune::PreparedData load_data(const tune::Config& config, const tune::Tokenizer& tokenizer) {
  Progress progress("Tokenizing");
  return tune::prepare_data(config, tokenizer,
                            [&](int64_t done, int64_t total) { progress(done, total); });
}

std::unique_ptr<tune::LanguageModel> load_model(const tune::Config& config,
                                                const tune::Tokenizer& tokenizer) {
  Progress progress("Loading weights");
  return tune::open_model_for_training(config, tokenizer,
                                       [&](int64_t done, int64_t total) { progress(done, total); });
}

tune::TrainResult run_training(const tune::Config& config, tune::LanguageModel& model,
                               const tune::Tokenizer& tokenizer, const tune::PreparedData& data) {
  TrainPrinter printer(config);
  tune::MetricsLog metrics(config);
  const std::unique_ptr<tune::TrainEvents> report = tune::make_html_report(config);
  const std::unique_ptr<tune::TrainEvents> tensorboard = tune::make_tensorboard_log(config);
  tune::EventFanout events;
  events.add(&printer);
  // The report reads what an earlier part of the run left in metrics.jsonl before the log rewrites
  // it.
  events.add(report.get());
  events.add(&metrics);
  if (config.use_tensorboard) events.add(tensorboard.get());
  const tune::TrainResult result =
      tune::train(config, model, tokenizer, data, events, &stop_requested);
  if (!metrics.write_failure().empty()) {
    std::fprintf(stderr, "warning: metrics.jsonl is incomplete: %s\n",
                 metrics.write_failure().c_str());
  }
  return result;
}

}  // namespace

int train_command(const Words& words) {
  CommandLine line("train", "Fine-tune a model as a YAML file says.");
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::train);
  tune::require_built(config);
  tune::prepare_output_dir(config);
  tune::use_threads(config);

  print_heading(config);
  const std::unique_ptr<tune::Tokenizer> tokenizer = tune::open_tokenizer(config);
  const tune::PreparedData data = load_data(config, *tokenizer);
  print_data(data);
  const std::unique_ptr<tune::LanguageModel> model = load_model(config, *tokenizer);
  print_model(config, *model);

  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  // A full disk under a file limit is an error to report, not a signal to die of.
  std::signal(SIGXFSZ, SIG_IGN);
  const tune::TrainResult result = run_training(config, *model, *tokenizer, data);
  return result.interrupted ? 130 : 0;
}

}  // namespace cli
