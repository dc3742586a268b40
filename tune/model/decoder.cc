#include "tune/model/decoder.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "tune/error.h"
#include "tune/model/checkpoint.h"
#include "tune/model/device.h"
#include "tune/model/rms_norm.h"
#include "tune/model/rope.h"
#include "tune/model/swiglu.h"

namespace tune {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of a trained embedding: the gradient is summed over equal ids in order of the tokens.
class Embed : public torch::autograd::Function<Embed> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& /*master*/,
                               const torch::Tensor& value, const torch::Tensor& ids) {
    ctx->save_for_backward({ids});
    ctx->saved_data["vocab"] = value.size(0);
    return value.index_select(0, ids);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const torch::Tensor ids = ctx->get_saved_variables()[0];
    const torch::Tensor d_weight =
        torch::zeros({ctx->saved_data["vocab"].toInt(), grads[0].size(1)},
                     grads[0].options().dtype(torch::kFloat32));
    d_weight.index_add_(0, ids, grads[0].to(torch::kFloat32));
    return {d_weight, torch::Tensor(), torch::Tensor()};
  }
};

torch::Tensor head_norm(const torch::Tensor& x, const Parameter& weight,
                        const ModelConfig& config) {
  const torch::Tensor heads = x.view({-1, config.head_dim});
  return ops::add_rms_norm(heads, {}, weight, config.rms_norm_eps).normed.view_as(x);
}

torch::Tensor attend(const DecoderLayer& layer, const torch::Tensor& x, const ModelConfig& config,
                     const ops::DropoutState& dropout, const AttentionStep& attention) {
  const Linear* const qkv[] = {&layer.q, &layer.k, &layer.v};
  auto projected = ops::linears(x, qkv, dropout);
  if (config.qk_norm) {
    projected[0] = head_norm(projected[0], layer.q_norm, config);
    projected[1] = head_norm(projected[1], layer.k_norm, config);
  }
  const torch::Tensor o = attention(layer, projected[0], projected[1], projected[2]);
  return ops::linear(o, layer.o, dropout);
}

// The layer keeping nothing but its input. Adding the residual here rounds as the next norm would
// have.
Residual run_layer_checkpointed(const DecoderLayer& layer, const Residual& in,
                                const ModelConfig& config, const ops::DropoutState& dropout,
                                const AttentionStep& attention) {
  const auto body = [&layer, &config, dropout, attention](const torch::Tensor& x) {
    const Residual out = run_layer(layer, {x, {}}, config, dropout, attention);
    return out.h + out.delta;
  };
  const torch::Tensor start = in.delta.defined() ? in.h + in.delta : in.h;
  const torch::Tensor anchor = torch::zeros({1}).requires_grad_(true);
  return {ops::checkpointed(start, anchor, body), {}};
}

}  // namespace

Residual run_layer(const DecoderLayer& layer, const Residual& in, const ModelConfig& config,
                   const ops::DropoutState& dropout, const AttentionStep& attention) {
  const double eps = config.rms_norm_eps;
  const auto before = ops::add_rms_norm(in.h, in.delta, layer.input_norm, eps);
  const torch::Tensor attended = attend(layer, before.normed, config, dropout, attention);
  const auto between = ops::add_rms_norm(before.sum, attended, layer.post_attention_norm, eps);
  const Linear* const gate_up[] = {&layer.gate, &layer.up};
  const auto projected = ops::linears(between.normed, gate_up, dropout);
  const torch::Tensor act = ops::swiglu(projected[0], projected[1]);
  return {between.sum, ops::linear(act, layer.down, dropout)};
}

void check_ids(std::span<const int32_t> ids, int64_t vocab_size) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab_size) continue;
    throw Error("token id " + std::to_string(id) + ": the model's vocabulary has " +
                std::to_string(vocab_size) + " ids; is the tokenizer that of this model?");
  }
}

torch::Tensor embed(const Parameter& embedding, std::span<const int32_t> ids) {
  const torch::Tensor index = on_device(ids, torch::kInt64, embedding.value.device());
  if (embedding.is_trained()) return Embed::apply(embedding.master, embedding.value, index);
  return embedding.value.index_select(0, index);
}

ops::SequenceLayout sequence_layout(const ModelConfig& config,
                                    const std::vector<int32_t>& position_ids,
                                    const std::vector<int32_t>& document_offsets,
                                    const torch::Device& device) {
  ops::SequenceLayout layout;
  layout.document_offsets = torch::empty({static_cast<int64_t>(document_offsets.size())},
                                         shared_memory_options(device, torch::kInt32));
  std::copy(document_offsets.begin(), document_offsets.end(),
            layout.document_offsets.data_ptr<int32_t>());
  const RotaryAngles angles =
      rotary_angles(position_ids, inverse_frequencies(config.rope, config.head_dim), device);
  layout.cos = angles.cos;
  layout.sin = angles.sin;
  return layout;
}

torch::Tensor hidden_states(const Decoder& decoder, const Batch& batch,
                            const ops::SequenceLayout& layout, const ForwardOptions& options) {
  const ModelConfig& config = decoder.config;
  check_ids(batch.input_ids, config.vocab_size);
  Residual state{embed(decoder.embedding, batch.input_ids), {}};
  const bool recomputes = options.gradient_checkpointing && torch::GradMode::is_enabled();
  const auto run = recomputes ? run_layer_checkpointed : run_layer;
  const AttentionStep attention = [&config, layout, choice = options.attention](
                                      const DecoderLayer& layer, const torch::Tensor& q,
                                      const torch::Tensor& k, const torch::Tensor& v) {
    const ops::AttentionShape shape{choice, config.num_attention_heads, config.num_key_value_heads,
                                    config.head_dim, layer.window};
    return ops::rotary_attention(q, k, v, shape, layout);
  };
  for (const DecoderLayer& layer : decoder.layers) {
    state = run(layer, state, config, options.dropout, attention);
  }
  return ops::add_rms_norm(state.h, state.delta, decoder.final_norm, config.rms_norm_eps).normed;
}

}  // namespace tune
