#include <nlohmann/json.hpp>

#include "tune/files/model_config.h"

namespace tune {
namespace {

using Json = nlohmann::ordered_json;

// The form of Transformers 4, which 5 reads too; 4 does not read rope_parameters.
Json rope_scaling(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeConfig::Scaling::linear:
      return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", rope.factor}};
    case RopeConfig::Scaling::llama3:
      return {{"rope_type", "llama3"},
              {"factor", rope.factor},
              {"low_freq_factor", rope.low_freq_factor},
              {"high_freq_factor", rope.high_freq_factor},
              {"original_max_position_embeddings", rope.original_max_position_embeddings}};
    default:
      return nullptr;
  }
}

template <typename T>
Json value_or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

bool slides(const ModelConfig& config, int64_t layer) {
  if (!config.sliding_window) return false;
  return config.layer_uses_sliding_window.empty() ||
         config.layer_uses_sliding_window.at(static_cast<size_t>(layer));
}

void add_qwen_windows(const ModelConfig& config, Json& json) {
  json["use_sliding_window"] = config.sliding_window.has_value();
  // Transformers before layer_types: layers from max_window_layers on slide.
  int64_t first = 0;
  while (first < config.num_hidden_layers && !slides(config, first)) ++first;
  json["max_window_layers"] = first;
  json["layer_types"] = Json::array();
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    json["layer_types"].push_back(slides(config, i) ? "sliding_attention" : "full_attention");
  }
}

void add_architecture_keys(const ModelConfig& config, Json& json) {
  if (config.architecture == Architecture::llama) json["mlp_bias"] = config.mlp_bias;
  if (config.architecture == Architecture::llama || config.architecture == Architecture::qwen3) {
    json["attention_bias"] = config.attention_bias;
  }
  if (config.architecture == Architecture::llama) return;
  json["sliding_window"] = value_or_null(config.sliding_window);
  if (config.architecture != Architecture::mistral) add_qwen_windows(config, json);
}

}  // namespace

std::string model_config_to_json(const ModelConfig& config) {
  Json json = {
      {"architectures", {architecture_class(config.architecture)}},
      {"model_type", architecture_name(config.architecture)},
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"num_key_value_heads", config.num_key_value_heads},
      {"head_dim", config.head_dim},
      {"hidden_act", "silu"},
      {"max_position_embeddings", config.max_position_embeddings},
      {"initializer_range", config.initializer_range},
      {"rms_norm_eps", config.rms_norm_eps},
      {"use_cache", true},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"rope_theta", config.rope.theta},
      {"rope_scaling", rope_scaling(config.rope)},
      {"attention_dropout", 0.0},
      {"bos_token_id", value_or_null(config.bos_token_id)},
      {"eos_token_id", nullptr},
      {"pad_token_id", value_or_null(config.pad_token_id)},
      {"torch_dtype", config.torch_dtype},
  };
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  add_architecture_keys(config, json);
  return json.dump(2) + "\n";
}

}  // namespace tune
