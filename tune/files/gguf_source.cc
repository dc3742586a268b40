#include "tune/files/gguf_source.h"

#include <array>
#include <utility>

#include "tune/error.h"
#include "tune/files/gguf.h"

namespace tune {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr std::array<NamePair, 3> kGlobalNames = {{
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
}};

// Between "model.layers.N." or "blk.N." and ".weight" or ".bias".
constexpr std::array<NamePair, 11> kLayerNames = {{
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};

constexpr std::string_view kLayerPrefix = "model.layers.";

class GgufSource : public ModelSource {
 public:
  explicit GgufSource(const std::string& path)
      : file_(GgufFile::open(path)), config_(model_config_from_gguf(*file_)) {}

  const ModelConfig& config() const override { return config_; }
  const std::string& path() const override { return file_->path(); }
  const GgufFile* gguf() const override { return file_.get(); }
  bool has(std::string_view hf_name) const override { return find(hf_name) != nullptr; }

  std::vector<int64_t> shape(std::string_view hf_name) const override {
    return required(hf_name).shape;
  }

  void read(std::string_view hf_name, std::span<const int64_t> expected_shape,
            std::span<float> out) const override {
    const StoredTensor& tensor = required(hf_name);
    check_shape(path(), hf_name, tensor, expected_shape, out.size());
    if (const int64_t heads = permuted_heads(hf_name); heads > 0) {
      read_permuted(tensor, heads, out);
    } else {
      dequantize(tensor, 0, out);
    }
  }

 private:
  const StoredTensor* find(std::string_view hf_name) const {
    const std::string name = gguf_tensor_name(hf_name);
    return name.empty() ? nullptr : file_->find(name);
  }

  const StoredTensor& required(std::string_view hf_name) const {
    const StoredTensor* tensor = find(hf_name);
    if (tensor == nullptr) {
      const std::string name = gguf_tensor_name(hf_name);
      throw Error("tensor " + std::string(hf_name) + " (in GGUF " +
                  (name.empty() ? "unknown" : name) + ") is not in " + path());
    }
    return *tensor;
  }

  // Heads whose rows llama.cpp's converter reordered, 0 for none: Q and K, weights and biases, of
  // the llama architecture (mistral is stored as llama), not of qwen2 and qwen3.
  int64_t permuted_heads(std::string_view hf_name) const {
    const bool is_permuted = config_.architecture == Architecture::llama ||
                             config_.architecture == Architecture::mistral;
    if (!is_permuted) return 0;
    if (hf_name.find(".q_proj.") != std::string_view::npos) return config_.num_attention_heads;
    if (hf_name.find(".k_proj.") != std::string_view::npos) return config_.num_key_value_heads;
    return 0;
  }

  // Rotary pairs: Transformers turns channel i with i + D/2, llama.cpp 2i with 2i + 1. Row 2i + j
  // of a head in the file is row j D/2 + i of it in Transformers.
  static void read_permuted(const StoredTensor& tensor, int64_t heads, std::span<float> out) {
    const int64_t rows = tensor.shape.at(0);
    if (rows % (2 * heads) != 0) {
      throw Error("tensor " + tensor.name + " has " + std::to_string(rows) +
                  " rows, which are not pairs in " + std::to_string(heads) + " heads");
    }
    const int64_t columns = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
    const int64_t half = rows / heads / 2;
    // A bias is one row of values; expanded whole, since blocks run across its heads.
    std::vector<float> stored(columns == 1 ? static_cast<size_t>(rows) : 0);
    if (columns == 1) dequantize(tensor, 0, stored);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t head = row / (2 * half), in_head = row % (2 * half);
      const int64_t target = head * 2 * half + (in_head % 2) * half + in_head / 2;
      const auto begin = static_cast<size_t>(target * columns);
      if (columns == 1) {
        out[begin] = stored[static_cast<size_t>(row)];
      } else {
        dequantize(tensor, row * columns, out.subspan(begin, static_cast<size_t>(columns)));
      }
    }
  }

  std::unique_ptr<GgufFile> file_;
  ModelConfig config_;
};

}  // namespace

std::string gguf_tensor_name(std::string_view hf_name) {
  for (const auto& [hf, gguf] : kGlobalNames) {
    if (hf_name == hf) return std::string(gguf);
  }
  if (!hf_name.starts_with(kLayerPrefix)) return "";
  hf_name.remove_prefix(kLayerPrefix.size());
  const size_t dot = hf_name.find('.');
  const size_t last = hf_name.rfind('.');
  if (dot == std::string_view::npos || dot == last) return "";
  const std::string_view layer = hf_name.substr(0, dot);
  const std::string_view module = hf_name.substr(dot + 1, last - dot - 1);
  for (const auto& [hf, gguf] : kLayerNames) {
    if (module != hf) continue;
    return "blk." + std::string(layer) + "." + std::string(gguf) +
           std::string(hf_name.substr(last));
  }
  return "";
}

std::unique_ptr<ModelSource> open_gguf_source(const std::string& path) {
  return std::make_unique<GgufSource>(path);
}

}  // namespace tune
