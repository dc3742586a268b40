// Whether a GPU's kernels serve a model's attention, found out before its weights are read.
#pragma once

#include "tune/files/model_config.h"
#include "tune/model/language_model.h"

namespace tune {

// Runs the options' attention once over a few tokens of the model's shape, with its backward where
// the model is to be trained; this also compiles the kernels. Throws UsageError with the engine's
// reason where it refuses. Nothing for a CPU, whose limits rule 30 knows.
void probe_attention(const ModelConfig& config, const ModelOptions& options, bool is_training);

// Compiles into the engine's disk cache what this attention launches on GPUs of
// `compute_capability` (10 * major + minor) over packed rows of `num_tokens` together; needs NVRTC
// and no GPU. Nothing for eager, which LibTorch computes. Throws regard::Error where the engine
// refuses.
void compile_attention(const ModelConfig& config, const ModelOptions& options, int64_t num_tokens,
                       int compute_capability);

}  // namespace tune
