// Opens what a configuration names: tokenizer, base model, adapter. Training, inference, evaluation
// and merging all start here, so that they cannot differ.
#pragma once

#include <memory>
#include <string>

#include "regard/machine.h"
#include "tune/config/config.h"
#include "tune/model/language_model.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// The computer as a run uses it: its first visible GPU where LibTorch was built for CUDA, else its
// CPU. CUDA_VISIBLE_DEVICES="" hides the GPUs.
regard::Machine training_machine();

// Threads of the engine and of LibTorch, as num_threads says (0 = all cores).
void use_threads(const Config& config);

// The tokenizer of the base model, or of `tokenizer_config`, with the file's special_tokens and
// tokens.
std::unique_ptr<Tokenizer> open_tokenizer(const Config& config);

// What the configuration says of model and adapter, in the model's words.
ModelOptions model_options(const Config& config);

// The base model with fresh adapters (or those of lora_model_dir), ready to train. Random weights
// where random_init_weights is true. Embeddings grow to the tokenizer's vocabulary.
std::unique_ptr<LanguageModel> open_model_for_training(const Config& config,
                                                       const Tokenizer& tokenizer,
                                                       const LoadProgress& progress = {});

// Where the adapter lies that this configuration trained: output_dir, or before training
// lora_model_dir. Throws UsageError when neither holds one.
std::string trained_adapter_folder(const Config& config);

// The model as training left it in output_dir: base and adapter, or the fully trained model.
// `with_adapter` false gives the base model alone. Throws UsageError when output_dir holds no
// result yet.
std::unique_ptr<LanguageModel> open_trained_model(const Config& config, const Tokenizer& tokenizer,
                                                  bool with_adapter,
                                                  const LoadProgress& progress = {});

}  // namespace tune
