// A ModelConfig from a GGUF header: keys are "<architecture>.<name>".
#include <charconv>
#include <string>
#include <unordered_map>
#include <vector>

#include "tune/error.h"
#include "tune/files/gguf.h"
#include "tune/files/model_config.h"
#include "tune/files/model_config_check.h"
#include "tune/files/rope_scaling.h"

namespace tune {
namespace {

// An f32 1e-5 is 9.99999974e-06 as a double; the shortest decimal that means the same f32 is what
// the model's authors wrote.
double shortest_decimal(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), static_cast<float>(value)).ptr;
  double result = value;
  std::from_chars(buffer, end, result);
  return result;
}

class GgufConfigReader {
 public:
  explicit GgufConfigReader(const GgufFile& file) : file_(file) {}

  ModelConfig read() {
    read_architecture();
    refuse_what_is_not_built();
    read_sizes();
    read_rope();
    read_details();
    check_model_config(config_, [this](const std::string& key, const std::string& cause) {
      fail(gguf_key(key), cause);
    });
    return config_;
  }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& cause) const {
    throw UsageError(file_.path() + ": GGUF key " + key + " " + cause);
  }

  std::string key(const std::string& name) const { return prefix_ + "." + name; }

  // The GGUF name of a Hugging Face key, for messages of the common checks.
  std::string gguf_key(const std::string& hf_key) const {
    static const std::unordered_map<std::string, std::string> kNames = {
        {"hidden_size", "embedding_length"},
        {"intermediate_size", "feed_forward_length"},
        {"num_hidden_layers", "block_count"},
        {"num_attention_heads", "attention.head_count"},
        {"num_key_value_heads", "attention.head_count_kv"},
        {"head_dim", "attention.key_length"},
        {"max_position_embeddings", "context_length"},
        {"sliding_window", "attention.sliding_window"},
        {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
        {"rope_theta", "rope.freq_base"},
        {"factor", "rope.scaling.factor"}};
    const auto it = kNames.find(hf_key);
    return key(it == kNames.end() ? hf_key : it->second);
  }

  int64_t required(const std::string& name) const {
    const auto value = file_.integer(key(name));
    if (!value) fail(key(name), "is missing");
    return *value;
  }

  void read_architecture() {
    const auto name = file_.string("general.architecture");
    if (!name) fail("general.architecture", "is missing; this is no language model's file");
    prefix_ = std::string(*name);
    if (prefix_ == "llama" || prefix_ == "mistral") {
      config_.architecture = Architecture::llama;
    } else if (prefix_ == "qwen2") {
      config_.architecture = Architecture::qwen2;
    } else if (prefix_ == "qwen3") {
      config_.architecture = Architecture::qwen3;
    } else {
      fail("general.architecture", "is \"" + prefix_ +
                                       "\", an architecture that Regard does not have; it has " +
                                       architecture_list());
    }
  }

  void refuse_what_is_not_built() const {
    if (file_.integer(key("expert_count")).value_or(0) != 0) {
      fail(key("expert_count"), "is " + std::to_string(*file_.integer(key("expert_count"))) +
                                    "; mixtures of experts are not built");
    }
  }

  void read_sizes() {
    config_.hidden_size = required("embedding_length");
    config_.intermediate_size = required("feed_forward_length");
    config_.num_hidden_layers = required("block_count");
    config_.num_attention_heads = required("attention.head_count");
    config_.num_key_value_heads =
        file_.integer(key("attention.head_count_kv")).value_or(config_.num_attention_heads);
    config_.max_position_embeddings = required("context_length");
    const auto key_length = file_.integer(key("attention.key_length"));
    if (!key_length && (config_.num_attention_heads < 1 ||
                        config_.hidden_size % config_.num_attention_heads != 0)) {
      fail(key("attention.head_count"), "is " + std::to_string(config_.num_attention_heads) +
                                            ", which does not divide embedding_length " +
                                            std::to_string(config_.hidden_size));
    }
    config_.head_dim = key_length ? *key_length : config_.hidden_size / config_.num_attention_heads;
    check_same_as_head_dim("attention.value_length");
    check_same_as_head_dim("rope.dimension_count");
    read_vocabulary();
  }

  void check_same_as_head_dim(const std::string& name) const {
    const int64_t value = file_.integer(key(name)).value_or(config_.head_dim);
    if (value == config_.head_dim) return;
    fail(key(name), "is " + std::to_string(value) + "; only the size of a head, " +
                        std::to_string(config_.head_dim) + ", is built");
  }

  // The embedding's rows decide; the tokenizer may name fewer.
  void read_vocabulary() {
    const GgufValue* tokens = file_.value("tokenizer.ggml.tokens");
    const StoredTensor* embedding = file_.find("token_embd.weight");
    if (embedding != nullptr && embedding->shape.size() == 2) {
      config_.vocab_size = embedding->shape[0];
    } else if (tokens != nullptr && tokens->is_array) {
      config_.vocab_size = static_cast<int64_t>(tokens->count);
    } else {
      config_.vocab_size = required("vocab_size");
    }
    if (tokens != nullptr && tokens->is_array &&
        tokens->count > static_cast<uint64_t>(config_.vocab_size)) {
      fail("tokenizer.ggml.tokens", "has " + std::to_string(tokens->count) +
                                        " entries, token_embd.weight has " +
                                        std::to_string(config_.vocab_size) + " rows");
    }
  }

  void read_rope() {
    RopeConfig& rope = config_.rope;
    rope.original_max_position_embeddings = config_.max_position_embeddings;
    rope.theta = shortest_decimal(file_.number(key("rope.freq_base")).value_or(10000.0));
    const auto type = file_.string(key("rope.scaling.type")).value_or("none");
    // rope.scale_linear is how files before rope.scaling.type said it.
    const auto old_factor = file_.number(key("rope.scale_linear"));
    if (type == "linear" || (old_factor && *old_factor != 1.0)) {
      rope.scaling = RopeConfig::Scaling::linear;
      rope.factor = file_.number(key("rope.scaling.factor")).value_or(old_factor.value_or(1.0));
    } else if (type != "none") {
      fail(key("rope.scaling.type"),
           "is \"" + std::string(type) +
               "\", a rotary scaling that is not built; none, linear and llama3 are");
    }
    if (const StoredTensor* divisors = file_.find("rope_freqs.weight")) read_divisors(*divisors);
  }

  void read_divisors(const StoredTensor& tensor) {
    if (tensor.num_elements() != config_.head_dim / 2) {
      throw UsageError(file_.path() + ": tensor rope_freqs.weight has shape " +
                       shape_text(tensor.shape) + ", half of the size of a head, " +
                       std::to_string(config_.head_dim / 2) + ", is needed");
    }
    std::vector<float> divisors(static_cast<size_t>(tensor.num_elements()));
    dequantize(tensor, 0, divisors);
    auto recovered = recover_llama3_scaling(divisors, config_.rope.theta);
    if (!recovered || config_.rope.scaling != RopeConfig::Scaling::none) {
      throw UsageError(file_.path() +
                       ": tensor rope_freqs.weight is not the rotary scaling of Llama 3, others "
                       "are not built; take the model as a Hugging Face folder");
    }
    if (recovered->factor == 1.0) return;  // all divisors 1: no scaling
    config_.rope = *recovered;
  }

  void read_details() {
    const auto eps = file_.number(key("attention.layer_norm_rms_epsilon"));
    config_.rms_norm_eps = shortest_decimal(eps.value_or(1e-6));
    config_.tie_word_embeddings = !has("output.weight");
    config_.attention_bias = has("blk.0.attn_q.bias");
    config_.attention_out_bias = has("blk.0.attn_output.bias");
    config_.mlp_bias = has("blk.0.ffn_up.bias");
    config_.qk_norm = has("blk.0.attn_q_norm.weight");
    if (const auto window = file_.integer(key("attention.sliding_window")); window && *window > 0) {
      config_.sliding_window = window;
      if (config_.architecture == Architecture::llama) config_.architecture = Architecture::mistral;
    }
    config_.bos_token_id = token_id("bos");
    config_.pad_token_id = token_id("padding");
    for (const char* name : {"eos", "eot"}) {
      const auto id = token_id(name);
      if (!id || (!config_.eos_token_ids.empty() && config_.eos_token_ids.front() == *id)) continue;
      config_.eos_token_ids.push_back(*id);
    }
    config_.torch_dtype = stored_dtype();
  }

  bool has(const std::string& tensor) const { return file_.find(tensor) != nullptr; }

  std::optional<int32_t> token_id(const std::string& name) const {
    const std::string full = "tokenizer.ggml." + name + "_token_id";
    const auto id = file_.integer(full);
    // -1, signed or not, is an old way of writing "none".
    if (!id || *id < 0 || *id == UINT32_MAX) return std::nullopt;
    if (*id > INT32_MAX) fail(full, "is " + std::to_string(*id) + ", beyond 2147483647");
    return static_cast<int32_t>(*id);
  }

  // general.file_type 1 is "mostly F16", 32 "mostly BF16"; block types are expanded to float32.
  std::string stored_dtype() const {
    const int64_t type = file_.integer("general.file_type").value_or(0);
    return type == 1 ? "float16" : type == 32 ? "bfloat16" : "float32";
  }

  const GgufFile& file_;
  std::string prefix_;
  ModelConfig config_;
};

}  // namespace

ModelConfig model_config_from_gguf(const GgufFile& file) { return GgufConfigReader(file).read(); }

}  // namespace tune
