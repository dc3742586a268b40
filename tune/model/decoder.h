// The decoder's weights as plain structs, and its forward as functions over them.
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tune/data/sample.h"
#include "tune/files/model_config.h"
#include "tune/model/attention_op.h"
#include "tune/model/linear.h"
#include "tune/model/parameter.h"

namespace tune {

struct DecoderLayer {
  Parameter input_norm, post_attention_norm;
  Parameter q_norm, k_norm;  // qwen3 only
  Linear q, k, v, o, gate, up, down;
  std::optional<int64_t> window;
};

struct Decoder {
  ModelConfig config;
  Parameter embedding;  // [vocab, hidden]
  std::vector<DecoderLayer> layers;
  Parameter final_norm;
  Parameter lm_head;  // [vocab, hidden]; without a name when tied to the embedding

  // Where the weights lie.
  torch::Device device() const { return embedding.value.device(); }
  // The matrix that turns hidden states into logits.
  const Parameter& output_weight() const { return lm_head.name.empty() ? embedding : lm_head; }
  // Every parameter under its Hugging Face name, adapters not counted, in order of the layers; with
  // the linear layer whose weight (not bias) it is, else null.
  void for_each_parameter(const std::function<void(Parameter&, Linear*)>& visit);
  // Every linear layer but lm_head.
  void for_each_linear(const std::function<void(Linear&)>& visit);
};

// Names and shapes of a model's weights; no tensor exists yet.
Decoder make_decoder(const ModelConfig& config);

struct ForwardOptions {
  ops::AttentionChoice attention;
  ops::DropoutState dropout;
  bool gradient_checkpointing = false;
};

// What turns projected q, k, v (before rotation) into the attention's output; training and decoding
// differ in nothing else.
using AttentionStep = std::function<torch::Tensor(const DecoderLayer& layer, const torch::Tensor& q,
                                                  const torch::Tensor& k, const torch::Tensor& v)>;

// The residual stream between layers is h + delta, added inside the next norm.
struct Residual {
  torch::Tensor h, delta;
};
Residual run_layer(const DecoderLayer& layer, const Residual& in, const ModelConfig& config,
                   const ops::DropoutState& dropout, const AttentionStep& attention);

// The layout of a batch's tokens for all layers: document bounds and rotary angles.
ops::SequenceLayout sequence_layout(const ModelConfig& config,
                                    const std::vector<int32_t>& position_ids,
                                    const std::vector<int32_t>& document_offsets,
                                    const torch::Device& device);

// Hidden states after the last norm, [tokens, hidden]. Throws tune::Error for an id outside the
// vocabulary.
torch::Tensor hidden_states(const Decoder& decoder, const Batch& batch,
                            const ops::SequenceLayout& layout, const ForwardOptions& options);

// Rows of the embedding, [ids.size(), hidden].
torch::Tensor embed(const Parameter& embedding, std::span<const int32_t> ids);
// Throws tune::Error for an id outside [0, vocab_size).
void check_ids(std::span<const int32_t> ids, int64_t vocab_size);

}  // namespace tune
