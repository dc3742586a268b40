#include "tune/files/model_config_check.h"

#include <charconv>
#include <cmath>
#include <vector>

namespace tune {
namespace {

struct IntegerRange {
  const char* key;
  int64_t value, least, most;
};

struct NumberRange {
  const char* key;
  double value, least, most;
};

std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return {buffer, result.ptr};
}

// Upper bounds stand far above every published model (the largest have 16,384 channels, 126 layers,
// 256,000 tokens, 10^7 positions); beyond them a file lies.
void check_integers(const ModelConfig& c, const ConfigFault& fault) {
  const std::vector<IntegerRange> ranges = {
      {"vocab_size", c.vocab_size, 1, 1 << 24},
      {"hidden_size", c.hidden_size, 1, 1 << 18},
      {"intermediate_size", c.intermediate_size, 1, 1 << 20},
      {"num_hidden_layers", c.num_hidden_layers, 1, 4096},
      {"num_attention_heads", c.num_attention_heads, 1, 4096},
      {"num_key_value_heads", c.num_key_value_heads, 1, 4096},
      {"head_dim", c.head_dim, 2, 4096},
      {"max_position_embeddings", c.max_position_embeddings, 1, 1 << 30},
      {"sliding_window", c.sliding_window.value_or(1), 1, 1 << 30},
      {"original_max_position_embeddings", c.rope.original_max_position_embeddings, 1, 1 << 30},
  };
  for (const IntegerRange& range : ranges) {
    if (range.value >= range.least && range.value <= range.most) continue;
    fault(range.key, "is " + std::to_string(range.value) + "; " + std::to_string(range.least) +
                         " to " + std::to_string(range.most) + " is allowed");
  }
}

void check_numbers(const ModelConfig& c, const ConfigFault& fault) {
  const std::vector<NumberRange> ranges = {
      {"rms_norm_eps", c.rms_norm_eps, 1e-12, 0.1},
      {"rope_theta", c.rope.theta, 1.0, 1e12},
      {"factor", c.rope.factor, 1.0, 1e6},
      {"low_freq_factor", c.rope.low_freq_factor, 1e-6, 1e6},
      {"high_freq_factor", c.rope.high_freq_factor, 1e-6, 1e6},
      {"initializer_range", c.initializer_range, 0.0, 1.0},
  };
  for (const NumberRange& range : ranges) {
    // Written so that a NaN fails too.
    if (range.value >= range.least && range.value <= range.most) continue;
    fault(range.key, "is " + number_text(range.value) + "; " + number_text(range.least) + " to " +
                         number_text(range.most) + " is allowed");
  }
}

void check_heads(const ModelConfig& c, const ConfigFault& fault) {
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    fault("num_key_value_heads", "is " + std::to_string(c.num_key_value_heads) +
                                     ", which does not divide num_attention_heads " +
                                     std::to_string(c.num_attention_heads));
  }
  if (c.head_dim % 2 != 0) {
    fault("head_dim", "is " + std::to_string(c.head_dim) +
                          "; rotary embeddings turn pairs of channels, it must be even");
  }
}

}  // namespace

void check_model_config(const ModelConfig& config, const ConfigFault& fault) {
  check_integers(config, fault);
  check_numbers(config, fault);
  check_heads(config, fault);
  if (config.rope.scaling == RopeConfig::Scaling::llama3 &&
      config.rope.low_freq_factor >= config.rope.high_freq_factor) {
    fault("low_freq_factor", "is " + number_text(config.rope.low_freq_factor) +
                                 "; it must be below high_freq_factor " +
                                 number_text(config.rope.high_freq_factor));
  }
}

std::string architecture_list() {
  std::string list;
  for (const Architecture a :
       {Architecture::llama, Architecture::mistral, Architecture::qwen2, Architecture::qwen3}) {
    list += (list.empty() ? "" : ", ") + std::string(architecture_name(a));
  }
  return list;
}

}  // namespace tune
