// ModelSource: a base model wherever it lies, under Hugging Face's tensor names.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tune/files/model_config.h"
#include "tune/files/tensor_file.h"

namespace tune {

class GgufFile;

class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const std::string& path() const = 0;  // folder or .gguf file
  // Names as Transformers writes them: "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"
  // (absent when tied).
  virtual bool has(std::string_view hf_name) const = 0;
  virtual std::vector<int64_t> shape(std::string_view hf_name) const = 0;
  // The whole tensor as f32, row-major. GGUF's permuted Q and K rows of the llama architecture are
  // put back in order. Throws tune::Error when absent or when its shape is not `shape`.
  virtual void read(std::string_view hf_name, std::span<const int64_t> expected_shape,
                    std::span<float> out) const = 0;
  // The GGUF file behind this model, for its tokenizer; null for a Hugging Face folder.
  virtual const GgufFile* gguf() const { return nullptr; }
};

// Opens a folder with config.json + *.safetensors, a .gguf file, or a Hub name ("org/model") found
// in the local Hugging Face cache ($HF_HOME, else ~/.cache/huggingface). Throws UsageError that
// says how to get the model (rule 32).
std::unique_ptr<ModelSource> open_model(const std::string& base_model);

// Where `base_model` lies, without reading weights; throws like open_model.
std::string locate_model(const std::string& base_model);
// Only the shape; cheap, used by the rules before anything is loaded. Works for a folder that has
// no weights yet.
ModelConfig read_model_config(const std::string& base_model);

}  // namespace tune
