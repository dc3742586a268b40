// LanguageModel: a LLaMA-family decoder on LibTorch whose attention is Regard's own engine.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "regard/modules.h"
#include "tune/data/sample.h"
#include "tune/files/model_config.h"
#include "tune/files/model_source.h"
#include "tune/model/flex_programs.h"

namespace tune {

enum class AdapterKind : uint8_t { none, lora, qlora };

struct ModelOptions {
  regard::Module attention = regard::Module::sdpa;
  int64_t sequence_len = 0;  // s2 cuts rows of this length into four groups
  FlexOptions flex;          // flex_attention's programs
  torch::Dtype compute_dtype =
      torch::kFloat32;  // kBFloat16: matrix products and activations; norms and loss stay f32
  torch::Device device = torch::kCPU;  // where weights and activations lie
  bool gradient_checkpointing = false;
  AdapterKind adapter = AdapterKind::none;
  bool load_in_4bit = false;  // frozen base weights as NF4 with double quantisation
  int64_t lora_r = 8;
  double lora_alpha = 16.0, lora_dropout = 0.0;
  std::vector<std::string>
      lora_target_modules;          // "q_proj", ... ; ends of module paths as PEFT matches them
  bool lora_target_linear = false;  // every linear layer but lm_head
  std::vector<std::string>
      modules_to_save;  // trained in full beside LoRA: "embed_tokens", "lm_head", norms
  uint64_t seed = 42;   // of LoRA's A matrices and of random initialisation
};

// A parameter the optimizer updates, f32 master copy. `name` is the Hugging Face name of a full
// parameter, or PEFT's
// ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight") of an adapter's.
struct TrainableParameter {
  std::string name;
  torch::Tensor tensor;
  bool decays = true;  // weight decay applies (matrices; not norms and biases)
};

// Called with (tensors done, tensors in all) while weights load.
using LoadProgress = std::function<void(int64_t done, int64_t total)>;

class KvCache;  // keys and values of a sequence under generation

class LanguageModel {
 public:
  // Loads the base weights; `vocab_size` >= the config's grows embeddings (new rows = mean of the
  // old).
  static std::unique_ptr<LanguageModel> load(const ModelSource& source, const ModelOptions& options,
                                             int64_t vocab_size = 0,
                                             const LoadProgress& progress = {});
  // Random weights: normal(0, initializer_range), norms 1, biases 0; the same seed gives the same
  // weights.
  static std::unique_ptr<LanguageModel> random(const ModelConfig& config,
                                               const ModelOptions& options);
  virtual ~LanguageModel() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const ModelOptions& options() const = 0;

  // Sum over the batch's labels of -log p(label), f32 scalar with a gradient; the caller divides by
  // the number of labels of the whole optimizer step. Logits never exist for more than a chunk of
  // tokens at a time.
  virtual torch::Tensor loss_sum(const Batch& batch) = 0;
  // [num_rows, row_length, vocab] f32 in main memory, without gradient: for tests and comparisons.
  virtual torch::Tensor logits(const Batch& batch) = 0;

  // Training draws dropout masks from this counter; set before every micro-batch, so that a resumed
  // run draws the same.
  // Outside of training s2 attends densely, as models trained with it are used.
  virtual void set_training(bool is_training, uint64_t dropout_seed) = 0;

  virtual std::vector<TrainableParameter> trainable_parameters() = 0;
  virtual int64_t num_parameters() const = 0;  // all of them, frozen ones counted
  // After the optimizer changed f32 masters: refreshes what was derived from them (bf16 copies).
  virtual void parameters_changed() = 0;

  // Generation: logits [vocab] f32 in main memory of the token that follows `ids`, which are
  // appended to the cache.
  virtual std::shared_ptr<KvCache> new_cache(int64_t max_tokens) = 0;
  virtual torch::Tensor next_logits(std::span<const int32_t> ids, KvCache& cache) = 0;

  // adapter_model.safetensors + adapter_config.json as PEFT reads them. Not for AdapterKind::none.
  virtual void save_adapter(const std::string& folder, const std::string& base_model_name) = 0;
  virtual void load_adapter(const std::string& folder) = 0;
  // model.safetensors (shards beyond `max_shard_bytes`) + config.json, adapters merged in; f32 or
  // the given dtype.
  virtual void save_model(const std::string& folder, torch::Dtype dtype,
                          int64_t max_shard_bytes) = 0;
};

// The options an adapter folder was trained with, for infer and merge-lora.
void read_adapter_config(const std::string& folder, ModelOptions& options);

}  // namespace tune
