// Whether a GPU's kernels serve a model's attention, found out before its weights are read.
#pragma once

#include "tune/files/model_config.h"
#include "tune/model/language_model.h"

namespace tune {

// Runs the options' attention once over a few tokens of the model's shape, with its backward where
// the model is to be trained; this also compiles the kernels. Throws UsageError with the engine's
// reason where it refuses. Nothing for a CPU, whose limits rule 30 knows.
void probe_attention(const ModelConfig& config, const ModelOptions& options, bool is_training);

}  // namespace tune
