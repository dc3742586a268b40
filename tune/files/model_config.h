// ModelConfig: the shape of a language model, from a Hugging Face config.json or a GGUF header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

enum class Architecture : uint8_t { llama, mistral, qwen2, qwen3 };

// Rotary embedding. `llama3` rescales low frequencies (Llama 3.1, config key rope_scaling),
// `linear` divides positions.
// With f = theta^(-2i/head_dim) and w = original_max_position_embeddings * f / (2 pi), turns in the
// original context, llama3 makes it f where w > high_freq_factor, f / factor where
// w < low_freq_factor, and between them f * ((1 - s) / factor + s) with
// s = (w - low_freq_factor) / (high_freq_factor - low_freq_factor). `linear` makes it f / factor.
struct RopeConfig {
  double theta = 10000.0;
  enum class Scaling : uint8_t { none, linear, llama3 } scaling = Scaling::none;
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 8192;
};

struct ModelConfig {
  Architecture architecture = Architecture::llama;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int64_t num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool attention_bias =
      false;  // q, k, v projections (qwen2: true); o only where attention_out_bias
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;                   // qwen3: RMSNorm over head_dim of q and k before RoPE
  std::optional<int64_t> sliding_window;  // mistral: keys besides the query's own are window - 1
  std::vector<bool> layer_uses_sliding_window;  // empty = all layers where sliding_window is set
  double initializer_range = 0.02;
  std::optional<int32_t> bos_token_id, pad_token_id;
  std::vector<int32_t> eos_token_ids;
  std::string torch_dtype = "float32";
};

std::string_view architecture_name(Architecture architecture);   // "llama", as model_type
std::string_view architecture_class(Architecture architecture);  // "LlamaForCausalLM"

// Reads the text of a config.json, of Transformers 4.x and 5.x. `path` is for messages. A key that
// is absent has Transformers' default; the sizes without a sensible default must be there. Throws
// tune::UsageError naming the key and value for nonsense (negative sizes, heads that do not divide,
// ...), and for an architecture that is not one of ours, with the list.
ModelConfig parse_model_config(const std::string& config_json_text, const std::string& path);
// The config.json that Hugging Face Transformers reads back.
std::string model_config_to_json(const ModelConfig& config);

class GgufFile;
// From a GGUF header. Llama 3's rope_freqs.weight is turned back into its parameters. A GGUF of
// mistral calls itself llama and is read as llama, as mistral where it has a sliding window.
ModelConfig model_config_from_gguf(const GgufFile& file);

// The divisor of every rotary frequency, head_dim / 2 of them: 1 without scaling, see RopeConfig.
std::vector<double> rope_frequency_divisors(const RopeConfig& rope, int64_t head_dim);

}  // namespace tune
