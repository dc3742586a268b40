// What a run leaves in output_dir besides checkpoints and logs.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "tune/config/config.h"
#include "tune/model/language_model.h"
#include "tune/tokenizer/tokenizer.h"
#include "tune/train/trainer.h"

namespace tune {

// Transformers' default shard size.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;

// bf16 for models trained in bf16, else f32.
torch::Dtype saved_dtype(const Config& config);

// The resolved configuration (config.yml) and the tokenizer: before the first step, so that even a
// run that is killed says what it was.
void write_run_files(const Config& config, const Tokenizer& tokenizer);

// The adapter (PEFT's files) or the full model (Transformers'), and the model card README.md.
void write_result(const Config& config, LanguageModel& model, const TrainResult& result,
                  const std::optional<EvalRecord>& evaluation);

// README.md as the Hugging Face Hub shows it: front matter, results, the YAML of the run.
std::string model_card(const Config& config, const TrainResult& result,
                       const std::optional<EvalRecord>& evaluation);

}  // namespace tune
