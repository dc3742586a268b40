#include "tune/model/kv_cache.h"

#include "tune/error.h"
#include "tune/model/rms_norm.h"

namespace tune {
namespace {

// Writes the new keys and values behind the old ones and attends over all of them.
torch::Tensor attend_cached(const ForwardOptions& options, const ModelConfig& config,
                            const DecoderLayer& layer, const ops::SequenceLayout& layout,
                            size_t index, KvCache& cache, const torch::Tensor& q_in,
                            const torch::Tensor& k_in, const torch::Tensor& v_in) {
  const int64_t head_dim = config.head_dim, count = q_in.size(0), total = cache.length + count;
  const torch::Tensor q = ops::rotated(q_in, layout, head_dim, 1.0f);
  cache.k[index].narrow(0, cache.length, count).copy_(ops::rotated(k_in, layout, head_dim, 1.0f));
  cache.v[index].narrow(0, cache.length, count).copy_(v_in);
  const ops::AttentionShape shape{options.attention, config.num_attention_heads,
                                  config.num_key_value_heads, head_dim, layer.window};
  return ops::attention_to_cache(q, cache.k[index].narrow(0, 0, total),
                                 cache.v[index].narrow(0, 0, total), shape);
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, const torch::TensorOptions& options, int64_t max_tokens)
    : capacity(max_tokens) {
  const int64_t width = config.num_key_value_heads * config.head_dim;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    k.push_back(torch::empty({max_tokens, width}, options));
    v.push_back(torch::empty({max_tokens, width}, options));
  }
}

torch::Tensor decode(const Decoder& decoder, const ForwardOptions& options,
                     std::span<const int32_t> ids, KvCache& cache) {
  const ModelConfig& config = decoder.config;
  const auto count = static_cast<int64_t>(ids.size());
  if (count == 0) throw Error("next_logits needs at least one token id");
  if (cache.length + count > cache.capacity) {
    throw Error("the cache holds " + std::to_string(cache.capacity) + " tokens, " +
                std::to_string(cache.length) + " are there and " + std::to_string(count) +
                " more do not fit");
  }
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < count; ++i) positions.push_back(static_cast<int32_t>(cache.length + i));
  const auto layout =
      sequence_layout(config, positions, {0, static_cast<int32_t>(count)}, decoder.device());
  check_ids(ids, config.vocab_size);
  Residual state{embed(decoder.embedding, ids), {}};
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const AttentionStep attention = [&](const DecoderLayer& layer, const torch::Tensor& q,
                                        const torch::Tensor& k, const torch::Tensor& v) {
      return attend_cached(options, config, layer, layout, i, cache, q, k, v);
    };
    state = run_layer(decoder.layers[i], state, config, {}, attention);
  }
  cache.length += count;
  const auto last = [&](const torch::Tensor& x) { return x.narrow(0, count - 1, 1).contiguous(); };
  const torch::Tensor hidden =
      ops::add_rms_norm(last(state.h), last(state.delta), decoder.final_norm, config.rms_norm_eps)
          .normed;
  return torch::mm(hidden, decoder.output_weight().value.t())
      .view({-1})
      .to(torch::kFloat32)
      .to(torch::kCPU);
}

}  // namespace tune
