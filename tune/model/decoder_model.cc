// LanguageModel over a Decoder.
#include <torch/csrc/autograd/grad_mode.h>

#include "tune/error.h"
#include "tune/model/adapter_files.h"
#include "tune/model/chunked_loss.h"
#include "tune/model/decoder.h"
#include "tune/model/device.h"
#include "tune/model/kv_cache.h"
#include "tune/model/language_model.h"
#include "tune/model/lora.h"
#include "tune/model/model_files.h"
#include "tune/model/weights.h"

namespace tune {
namespace {

class DecoderModel final : public LanguageModel {
 public:
  DecoderModel(Decoder decoder, const ModelOptions& options)
      : decoder_(std::move(decoder)), options_(options) {
    if (options.attention == regard::Module::flex_attention && !options.flex.is_empty()) {
      programs_.emplace(options.flex, decoder_.config.num_attention_heads, options.device);
    }
  }

  Decoder& decoder() { return decoder_; }
  const ModelConfig& config() const override { return decoder_.config; }
  const ModelOptions& options() const override { return options_; }

  torch::Tensor loss_sum(const Batch& batch) override {
    const auto targets = ops::loss_targets(batch, decoder_.config.vocab_size, decoder_.device());
    const torch::Tensor hidden = hidden_of(batch);
    return ops::chunked_cross_entropy(hidden, decoder_.output_weight(), targets);
  }

  torch::Tensor logits(const Batch& batch) override {
    const torch::NoGradGuard no_gradients;
    const torch::Tensor hidden = hidden_of(batch);
    return torch::mm(hidden, decoder_.output_weight().value.t())
        .to(torch::kFloat32)
        .to(torch::kCPU)
        .view({batch.num_rows, batch.row_length, -1});
  }

  void set_training(bool is_training, uint64_t dropout_seed) override {
    dropout_ = {is_training, dropout_seed};
  }

  std::vector<TrainableParameter> trainable_parameters() override {
    std::vector<TrainableParameter> result;
    for_each_trained([&](Parameter& parameter) {
      result.push_back({parameter.name, parameter.master, parameter.shape.size() > 1});
    });
    return result;
  }

  int64_t num_parameters() const override {
    int64_t count = 0;
    auto& decoder = const_cast<Decoder&>(decoder_);  // the visitor changes nothing here
    decoder.for_each_parameter(
        [&](Parameter& parameter, Linear*) { count += parameter.num_elements(); });
    decoder.for_each_linear(
        [&](Linear& layer) { count += layer.lora.a.num_elements() + layer.lora.b.num_elements(); });
    return count;
  }

  void parameters_changed() override {
    const torch::NoGradGuard no_gradients;
    for_each_trained([](Parameter& parameter) { parameter.refresh(); });
  }

  std::shared_ptr<KvCache> new_cache(int64_t max_tokens) override {
    return std::make_shared<KvCache>(
        decoder_.config,
        torch::TensorOptions().dtype(options_.compute_dtype).device(options_.device), max_tokens);
  }

  torch::Tensor next_logits(std::span<const int32_t> ids, KvCache& cache) override {
    const torch::NoGradGuard no_gradients;
    return decode(decoder_, forward_options(), ids, cache);
  }

  void save_adapter(const std::string& folder, const std::string& base_model_name) override {
    save_adapter_files(decoder_, options_, folder, base_model_name);
    if (programs_) programs_->save(folder);
  }
  void load_adapter(const std::string& folder) override {
    const torch::NoGradGuard no_gradients;
    load_adapter_files(decoder_, options_, folder);
  }
  void save_model(const std::string& folder, torch::Dtype dtype, int64_t max_shard_bytes) override {
    const torch::NoGradGuard no_gradients;
    save_model_files(decoder_, folder, dtype, max_shard_bytes);
    if (programs_) programs_->save(folder);
  }

 private:
  torch::Tensor hidden_of(const Batch& batch) {
    keep_until_done(last_offsets_, decoder_.device());
    const ops::SequenceLayout layout = sequence_layout(decoder_.config, batch.position_ids,
                                                       batch.document_offsets, decoder_.device());
    last_offsets_ = layout.document_offsets;
    return hidden_states(decoder_, batch, layout, forward_options());
  }

  ForwardOptions forward_options() const {
    ForwardOptions forward;
    forward.attention.module = options_.attention;
    forward.attention.row_length = options_.sequence_len;
    forward.attention.is_training = dropout_.is_training;
    forward.attention.programs = programs_ ? &*programs_ : nullptr;
    forward.dropout = dropout_;
    forward.gradient_checkpointing = options_.gradient_checkpointing;
    return forward;
  }

  // Full parameters first, then A and B of every adapted layer, then tensors of score programs.
  void for_each_trained(const std::function<void(Parameter&)>& visit) {
    decoder_.for_each_parameter([&](Parameter& parameter, Linear*) {
      if (parameter.is_trained()) visit(parameter);
    });
    decoder_.for_each_linear([&](Linear& layer) {
      for (Parameter* parameter : {&layer.lora.a, &layer.lora.b}) {
        if (parameter->is_trained()) visit(*parameter);
      }
    });
    if (programs_) {
      for (Parameter& parameter : programs_->parameters()) visit(parameter);
    }
  }

  Decoder decoder_;
  ModelOptions options_;
  std::optional<FlexPrograms> programs_;
  ops::DropoutState dropout_;
  torch::Tensor last_offsets_;  // which the GPU may still be reading
};

void check_options(const ModelOptions& options) {
  if (options.load_in_4bit && options.adapter == AdapterKind::none) {
    throw UsageError("load_in_4bit keeps weights that cannot be trained: add adapter: qlora");
  }
  if (options.lora_dropout < 0.0 || options.lora_dropout >= 1.0) {
    throw UsageError("lora_dropout " + std::to_string(options.lora_dropout) +
                     ": must be at least 0 and below 1");
  }
}

template <class Fill>
std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, const ModelOptions& options,
                                          const Fill& fill) {
  check_options(options);
  const torch::NoGradGuard no_gradients;
  auto model = std::make_unique<DecoderModel>(make_decoder(config), options);
  fill(model->decoder());
  if (options.adapter != AdapterKind::none) attach_lora(model->decoder(), options);
  return model;
}

}  // namespace

std::unique_ptr<LanguageModel> LanguageModel::load(const ModelSource& source,
                                                   const ModelOptions& options, int64_t vocab_size,
                                                   const LoadProgress& progress) {
  ModelConfig config = source.config();
  config.vocab_size = std::max(config.vocab_size, vocab_size);
  return make_model(config, options,
                    [&](Decoder& decoder) { load_weights(decoder, source, options, progress); });
}

std::unique_ptr<LanguageModel> LanguageModel::random(const ModelConfig& config,
                                                     const ModelOptions& options) {
  return make_model(config, options, [&](Decoder& decoder) { fill_weights(decoder, options); });
}

}  // namespace tune
