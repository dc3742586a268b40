#include "tune/files/model_config.h"

#include <algorithm>
#include <array>

#include "tune/error.h"
#include "tune/files/config_reader.h"
#include "tune/files/json_text.h"
#include "tune/files/model_config_check.h"

namespace tune {
namespace {

using nlohmann::json;

struct ArchitectureNames {
  std::string_view model_type, class_name;
};

// In the order of Architecture.
constexpr std::array<ArchitectureNames, 4> kArchitectures = {{
    {"llama", "LlamaForCausalLM"},
    {"mistral", "MistralForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"},
}};

// What Transformers assumes for a key that is absent.
struct Defaults {
  int64_t max_position_embeddings;
  std::optional<int64_t> num_key_value_heads;  // absent: as many as num_attention_heads
  std::optional<int64_t> head_dim;             // absent: hidden_size / num_attention_heads
};

Defaults defaults_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::mistral:
      return {131072, 8, std::nullopt};
    case Architecture::qwen2:
      return {32768, 32, std::nullopt};
    case Architecture::qwen3:
      return {32768, 32, 128};
    default:
      return {2048, std::nullopt, std::nullopt};
  }
}

Architecture read_architecture(const ConfigReader& reader) {
  std::string key = "model_type";
  auto name = reader.text(key);
  if (const json* classes = reader.find("architectures"); !name && classes != nullptr) {
    key = "architectures";
    if (!classes->is_array() || classes->empty() || !classes->front().is_string()) {
      reader.fail(key, "is " + ConfigReader::shown(*classes) + "; a list of class names is needed");
    }
    name = classes->front().get<std::string>();
  }
  if (!name) reader.fail(key, "is missing; it is one of " + architecture_list());
  for (size_t i = 0; i < kArchitectures.size(); ++i) {
    if (*name == kArchitectures[i].model_type || *name == kArchitectures[i].class_name) {
      return static_cast<Architecture>(i);
    }
  }
  reader.fail(key, "is \"" + *name + "\", an architecture that Regard does not have; it has " +
                       architecture_list());
}

void refuse_what_would_change_results(const ConfigReader& reader) {
  const std::string activation = reader.text("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish") {
    reader.fail("hidden_act", "is \"" + activation + "\"; only silu is built");
  }
  if (const json* quantization = reader.find("quantization_config")) {
    reader.fail("quantization_config",
                "says that the weights are quantised (" + ConfigReader::shown(*quantization) +
                    "); take the F32, F16 or BF16 weights of this model, or a GGUF file");
  }
  if (reader.number("partial_rotary_factor").value_or(1.0) != 1.0) {
    reader.fail("partial_rotary_factor",
                "is not 1; rotary embeddings of a part of the channels "
                "are not built");
  }
}

void read_sizes(const ConfigReader& reader, ModelConfig& config) {
  const Defaults defaults = defaults_of(config.architecture);
  config.vocab_size = reader.required("vocab_size");
  config.hidden_size = reader.required("hidden_size");
  config.intermediate_size = reader.required("intermediate_size");
  config.num_hidden_layers = reader.required("num_hidden_layers");
  config.num_attention_heads = reader.required("num_attention_heads");
  if (config.num_attention_heads < 1) {
    reader.fail("num_attention_heads",
                "is " + std::to_string(config.num_attention_heads) + "; at least 1 is needed");
  }
  const auto heads_default =
      reader.is_absent("num_key_value_heads") ? defaults.num_key_value_heads : std::nullopt;
  config.num_key_value_heads = reader.integer("num_key_value_heads")
                                   .value_or(heads_default.value_or(config.num_attention_heads));
  const auto head_dim_default = reader.is_absent("head_dim") ? defaults.head_dim : std::nullopt;
  const auto head_dim = reader.integer("head_dim");
  if (!head_dim && !head_dim_default && config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("num_attention_heads", "is " + std::to_string(config.num_attention_heads) +
                                           ", which does not divide hidden_size " +
                                           std::to_string(config.hidden_size) +
                                           "; without it head_dim must be given");
  }
  config.head_dim =
      head_dim.value_or(head_dim_default.value_or(config.hidden_size / config.num_attention_heads));
  config.max_position_embeddings =
      reader.integer("max_position_embeddings").value_or(defaults.max_position_embeddings);
}

double required_number(const ConfigReader& reader, const std::string& key) {
  const auto value = reader.number(key);
  if (!value) reader.fail(key, "is missing in the rotary scaling");
  return *value;
}

// Transformers 4 writes rope_theta and rope_scaling, Transformers 5 one mapping rope_parameters;
// the older rope_scaling wins where both stand.
void read_rope(const ConfigReader& reader, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  rope.theta = reader.number("rope_theta").value_or(10000.0);
  rope.original_max_position_embeddings = config.max_position_embeddings;
  const json* object = reader.mapping("rope_scaling");
  if (object == nullptr || object->empty()) object = reader.mapping("rope_parameters");
  if (object == nullptr || object->empty()) return;
  const ConfigReader scaling = reader.inside(*object);
  if (!scaling.is_absent("full_attention") || !scaling.is_absent("sliding_attention")) {
    reader.fail("rope_parameters", "differ by kind of layer, which is not built");
  }
  rope.theta = scaling.number("rope_theta").value_or(rope.theta);
  if (scaling.number("partial_rotary_factor").value_or(1.0) != 1.0) {
    reader.fail("partial_rotary_factor", "is not 1, which is not built");
  }
  const std::string key = scaling.find("rope_type") != nullptr ? "rope_type" : "type";
  const std::string type = scaling.text(key).value_or("default");
  if (type == "default") return;
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::linear;
    rope.factor = required_number(scaling, "factor");
  } else if (type == "llama3") {
    rope.scaling = RopeConfig::Scaling::llama3;
    rope.factor = required_number(scaling, "factor");
    rope.low_freq_factor = required_number(scaling, "low_freq_factor");
    rope.high_freq_factor = required_number(scaling, "high_freq_factor");
    rope.original_max_position_embeddings = scaling.integer("original_max_position_embeddings")
                                                .value_or(config.max_position_embeddings);
  } else {
    scaling.fail(key, "is \"" + type +
                          "\", a rotary scaling that is not built; default, linear and llama3 are");
  }
}

void read_biases(const ConfigReader& reader, ModelConfig& config) {
  switch (config.architecture) {
    case Architecture::llama:
      config.mlp_bias = reader.boolean("mlp_bias", false);
      [[fallthrough]];
    case Architecture::qwen3:
      config.attention_bias = reader.boolean("attention_bias", false);
      config.attention_out_bias = config.attention_bias;
      break;
    case Architecture::qwen2:
      config.attention_bias = true;
      break;
    case Architecture::mistral:
      break;
  }
  config.qk_norm = config.architecture == Architecture::qwen3;
}

std::vector<bool> read_layer_types(const ConfigReader& reader, const ModelConfig& config) {
  std::vector<bool> slides;
  const json* types = reader.find("layer_types");
  if (types == nullptr) {
    const int64_t first = reader.integer("max_window_layers").value_or(28);
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) slides.push_back(i >= first);
    return slides;
  }
  if (!types->is_array() || static_cast<int64_t>(types->size()) != config.num_hidden_layers) {
    reader.fail("layer_types", "is " + ConfigReader::shown(*types) + "; a list of " +
                                   std::to_string(config.num_hidden_layers) + " kinds is needed");
  }
  for (const json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      reader.fail("layer_types", "has " + ConfigReader::shown(type) +
                                     "; full_attention and sliding_attention are built");
    }
    slides.push_back(type == "sliding_attention");
  }
  return slides;
}

// llama has no window whatever its file says; an absent key is 4096 in Transformers' other three.
void read_window(const ConfigReader& reader, ModelConfig& config) {
  const auto window = reader.is_absent("sliding_window") ? 4096 : reader.integer("sliding_window");
  if (config.architecture == Architecture::mistral) config.sliding_window = window;
  const bool is_qwen =
      config.architecture == Architecture::qwen2 || config.architecture == Architecture::qwen3;
  if (!is_qwen) return;
  const std::vector<bool> slides = read_layer_types(reader, config);
  if (!reader.boolean("use_sliding_window", false) || !window) {
    if (reader.find("layer_types") != nullptr && std::count(slides.begin(), slides.end(), true)) {
      reader.fail("layer_types",
                  "has sliding_attention, but use_sliding_window is not true or "
                  "sliding_window is null");
    }
    return;
  }
  if (std::count(slides.begin(), slides.end(), true) == 0) return;
  config.sliding_window = window;
  config.layer_uses_sliding_window = slides;
}

// Negative ids are an old way of writing "none".
std::optional<int32_t> token_id(const ConfigReader& reader, const std::string& key, int64_t id) {
  if (id > INT32_MAX) reader.fail(key, "is " + std::to_string(id) + ", beyond 2147483647");
  return id < 0 ? std::nullopt : std::optional(static_cast<int32_t>(id));
}

void read_tokens(const ConfigReader& reader, ModelConfig& config) {
  if (const auto bos = reader.integer("bos_token_id")) {
    config.bos_token_id = token_id(reader, "bos_token_id", *bos);
  }
  if (const auto pad = reader.integer("pad_token_id")) {
    config.pad_token_id = token_id(reader, "pad_token_id", *pad);
  }
  const json* eos = reader.find("eos_token_id");
  if (eos == nullptr) return;
  const json list = eos->is_array() ? *eos : json::array({*eos});
  for (const json& id : list) {
    if (!id.is_number_integer()) {
      reader.fail("eos_token_id", "is " + ConfigReader::shown(*eos) +
                                      "; a whole number or a list of them is needed");
    }
    if (const auto token = token_id(reader, "eos_token_id", id.get<int64_t>())) {
      config.eos_token_ids.push_back(*token);
    }
  }
}

void read_dtype(const ConfigReader& reader, ModelConfig& config) {
  const std::string key = reader.find("dtype") != nullptr ? "dtype" : "torch_dtype";
  std::string type = reader.text(key).value_or("float32");
  if (type.starts_with("torch.")) type.erase(0, 6);
  if (type != "float32" && type != "float16" && type != "bfloat16" && type != "float64") {
    reader.fail(key, "is \"" + type + "\"; float32, float16, bfloat16 and float64 are read");
  }
  config.torch_dtype = type;
}

json parse_object(const std::string& text, const std::string& path) {
  try {
    json object = parse_json_strictly(text, path);
    if (!object.is_object())
      throw UsageError(path + ": not a JSON object; a model's config.json is");
    return object;
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace

std::string_view architecture_name(Architecture architecture) {
  return kArchitectures.at(static_cast<size_t>(architecture)).model_type;
}

std::string_view architecture_class(Architecture architecture) {
  return kArchitectures.at(static_cast<size_t>(architecture)).class_name;
}

ModelConfig parse_model_config(const std::string& config_json_text, const std::string& path) {
  const json object = parse_object(config_json_text, path);
  const ConfigReader reader(object, config_json_text, path);
  ModelConfig config;
  config.architecture = read_architecture(reader);
  refuse_what_would_change_results(reader);
  read_sizes(reader, config);
  config.rms_norm_eps = reader.number("rms_norm_eps").value_or(1e-6);
  config.initializer_range = reader.number("initializer_range").value_or(0.02);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_rope(reader, config);
  check_model_config(
      config, [&](const std::string& key, const std::string& cause) { reader.fail(key, cause); });
  read_biases(reader, config);
  read_window(reader, config);
  read_tokens(reader, config);
  read_dtype(reader, config);
  check_model_config(
      config, [&](const std::string& key, const std::string& cause) { reader.fail(key, cause); });
  return config;
}

}  // namespace tune
