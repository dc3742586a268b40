// Names and shapes of a decoder's weights.
#include <array>

#include "tune/model/decoder.h"

namespace tune {
namespace {

Linear make_linear(const std::string& path, int64_t in, int64_t out, bool has_bias) {
  Linear layer;
  layer.path = path;
  layer.in = in;
  layer.out = out;
  layer.weight.name = path + ".weight";
  layer.weight.shape = {out, in};
  if (has_bias) {
    layer.bias.name = path + ".bias";
    layer.bias.shape = {out};
  }
  return layer;
}

Parameter make_parameter(const std::string& name, std::vector<int64_t> shape) {
  Parameter parameter;
  parameter.name = name;
  parameter.shape = std::move(shape);
  return parameter;
}

std::optional<int64_t> window_of_layer(const ModelConfig& config, size_t index) {
  if (!config.sliding_window) return std::nullopt;
  const auto& uses = config.layer_uses_sliding_window;
  if (!uses.empty() && !(index < uses.size() && uses[index])) return std::nullopt;
  return config.sliding_window;
}

DecoderLayer make_layer(const ModelConfig& config, size_t index) {
  const std::string path = "model.layers." + std::to_string(index) + ".";
  const std::string attention = path + "self_attn.", mlp = path + "mlp.";
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t q_width = config.num_attention_heads * config.head_dim;
  const int64_t kv_width = config.num_key_value_heads * config.head_dim;
  DecoderLayer layer;
  layer.input_norm = make_parameter(path + "input_layernorm.weight", {hidden});
  layer.post_attention_norm = make_parameter(path + "post_attention_layernorm.weight", {hidden});
  if (config.qk_norm) {
    layer.q_norm = make_parameter(attention + "q_norm.weight", {config.head_dim});
    layer.k_norm = make_parameter(attention + "k_norm.weight", {config.head_dim});
  }
  layer.q = make_linear(attention + "q_proj", hidden, q_width, config.attention_bias);
  layer.k = make_linear(attention + "k_proj", hidden, kv_width, config.attention_bias);
  layer.v = make_linear(attention + "v_proj", hidden, kv_width, config.attention_bias);
  layer.o = make_linear(attention + "o_proj", q_width, hidden, config.attention_out_bias);
  layer.gate = make_linear(mlp + "gate_proj", hidden, inner, config.mlp_bias);
  layer.up = make_linear(mlp + "up_proj", hidden, inner, config.mlp_bias);
  layer.down = make_linear(mlp + "down_proj", inner, hidden, config.mlp_bias);
  layer.window = window_of_layer(config, index);
  return layer;
}

}  // namespace

Decoder make_decoder(const ModelConfig& config) {
  Decoder decoder;
  decoder.config = config;
  decoder.embedding =
      make_parameter("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    decoder.layers.push_back(make_layer(config, static_cast<size_t>(i)));
  }
  decoder.final_norm = make_parameter("model.norm.weight", {config.hidden_size});
  if (!config.tie_word_embeddings) {
    decoder.lm_head = make_parameter("lm_head.weight", {config.vocab_size, config.hidden_size});
  }
  return decoder;
}

std::array<Linear*, 7> linears_of(DecoderLayer& layer) {
  return {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
}

void Decoder::for_each_linear(const std::function<void(Linear&)>& visit) {
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : linears_of(layer)) visit(*linear);
  }
}

void Decoder::for_each_parameter(const std::function<void(Parameter&, Linear*)>& visit) {
  const auto visit_named = [&](Parameter& parameter, Linear* linear) {
    if (!parameter.name.empty()) visit(parameter, linear);
  };
  visit_named(embedding, nullptr);
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : linears_of(layer)) {
      visit_named(linear->weight, linear);
      visit_named(linear->bias, nullptr);
    }
    for (Parameter* norm :
         {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) {
      visit_named(*norm, nullptr);
    }
  }
  visit_named(final_norm, nullptr);
  visit_named(lm_head, nullptr);
}

}  // namespace tune
