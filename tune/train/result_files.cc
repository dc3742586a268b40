#include "tune/train/result_files.h"

#include <filesystem>
#include <iomanip>
#include <sstream>

#include "tune/config/check.h"
#include "tune/files/atomic_write.h"

namespace tune {
namespace {

namespace fs = std::filesystem;

std::string in_output(const Config& config, const char* name) {
  return (fs::path(config.output_dir) / name).string();
}

std::string title_of(const Config& config) {
  const fs::path path = fs::path(config.output_dir).lexically_normal();
  const fs::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
  return name.empty() || name == "." ? "Fine-tuned model" : name.string();
}

// Base models are written as the user wrote them, in quotes: a path may hold a colon.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

std::string method_of(const Config& config) {
  if (config.adapter == "qlora") return "a QLoRA adapter of";
  if (config.adapter == "lora") return "a LoRA adapter of";
  return config.random_init_weights ? "a model trained from scratch in the shape of"
                                    : "a fully fine-tuned";
}

}  // namespace

torch::Dtype saved_dtype(const Config& config) {
  return config.uses_bf16() ? torch::kBFloat16 : torch::kFloat32;
}

void write_run_files(const Config& config, const Tokenizer& tokenizer) {
  write_file_atomically(in_output(config, "config.yml"), config_to_yaml(config));
  tokenizer.save(config.output_dir);
}

void write_result(const Config& config, LanguageModel& model, const TrainResult& result,
                  const std::optional<EvalRecord>& evaluation) {
  if (config.uses_adapter())
    model.save_adapter(config.output_dir, config.base_model);
  else
    model.save_model(config.output_dir, saved_dtype(config), kMaxShardBytes);
  write_file_atomically(in_output(config, "README.md"), model_card(config, result, evaluation));
}

std::string model_card(const Config& config, const TrainResult& result,
                       const std::optional<EvalRecord>& evaluation) {
  std::ostringstream text;
  text << "---\nbase_model: " << quoted(config.base_model)
       << "\nlibrary_name: " << (config.uses_adapter() ? "peft" : "transformers")
       << "\npipeline_tag: text-generation\ntags:\n- regard\n"
       << (config.uses_adapter() ? "- lora\n" : "") << "---\n\n# " << title_of(config)
       << "\n\nThis is " << method_of(config) << " `" << config.base_model
       << "`, trained with Regard.\n\n## Results\n\n| | |\n|---|---|\n"
       << std::fixed << std::setprecision(4) << "| steps | " << result.steps << " |\n"
       << "| mean training loss | " << result.mean_loss << " |\n"
       << "| last training loss | " << result.last_loss << " |\n";
  if (evaluation)
    text << "| evaluation loss | " << evaluation->loss << " |\n"
         << "| evaluation perplexity | " << evaluation->perplexity << " |\n";
  text << std::setprecision(0) << "| training time | " << result.seconds << " s |\n"
       << "\n## Configuration\n\n```yaml\n"
       << config_to_yaml(config) << "```\n";
  return text.str();
}

}  // namespace tune
