// merge-lora: base model and adapter as one model that needs neither.
#pragma once

#include <string>

#include "tune/config/config.h"
#include "tune/model/language_model.h"

namespace tune {

// Loads base_model (never in 4 bit: the merge is into the real weights) and the adapter of
// lora_model_dir, else of output_dir, and writes model, config.json and tokenizer to
// <output_dir>/merged, whole or not at all. bf16 with `bf16: true`, else f32. Returns the folder.
// Throws UsageError without an adapter.
std::string merge_adapter(const Config& config, const LoadProgress& progress = {});

}  // namespace tune
