#include "tune/model/weights.h"

#include "tune/error.h"
#include "tune/model/lora.h"
#include "tune/model/random_fill.h"

namespace tune {
namespace {

std::span<float> span_of(const torch::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

bool is_trained_in_full(const Decoder& decoder, const ModelOptions& options,
                        const Parameter& parameter) {
  return options.adapter == AdapterKind::none || is_saved_module(decoder, options, parameter);
}

// Keeps an f32 tensor of main memory the way the options want this parameter.
void install(const Decoder& decoder, const ModelOptions& options, Parameter& parameter,
             Linear* linear, const torch::Tensor& weight) {
  const torch::Device& device = options.device;
  const bool is_norm = parameter.shape.size() == 1 && parameter.name.ends_with("norm.weight");
  const torch::Dtype dtype = is_norm ? torch::kFloat32 : options.compute_dtype;
  if (is_trained_in_full(decoder, options, parameter)) {
    parameter.train(weight.to(device), dtype);
  } else if (linear != nullptr && options.load_in_4bit) {
    linear->quantized = quantize_nf4(weight).to(device);
  } else {
    parameter.freeze(weight.to(device), dtype);
  }
}

// A tied model may still carry lm_head.weight; it is the embedding's twin and stays unread.
torch::Tensor read(const ModelSource& source, const Parameter& parameter) {
  const torch::Tensor weight = torch::empty(parameter.shape, torch::kFloat32);
  const auto stored = source.shape(parameter.name);
  const bool grows = stored.size() == 2 && parameter.shape.size() == 2 &&
                     stored[0] < parameter.shape[0] && stored[1] == parameter.shape[1];
  const bool is_vocabulary =
      parameter.name == "model.embed_tokens.weight" || parameter.name == "lm_head.weight";
  if (!grows || !is_vocabulary) {
    source.read(parameter.name, parameter.shape, span_of(weight));
    return weight;
  }
  const torch::Tensor old_rows = weight.narrow(0, 0, stored[0]);
  source.read(parameter.name, stored, span_of(old_rows));
  weight.narrow(0, stored[0], parameter.shape[0] - stored[0]).copy_(old_rows.mean(0));
  return weight;
}

}  // namespace

void load_weights(Decoder& decoder, const ModelSource& source, const ModelOptions& options,
                  const LoadProgress& progress) {
  int64_t done = 0, total = 0;
  decoder.for_each_parameter([&](Parameter&, Linear*) { ++total; });
  decoder.for_each_parameter([&](Parameter& parameter, Linear* linear) {
    install(decoder, options, parameter, linear, read(source, parameter));
    if (progress) progress(++done, total);
  });
}

void fill_weights(Decoder& decoder, const ModelOptions& options) {
  decoder.for_each_parameter([&](Parameter& parameter, Linear* linear) {
    torch::Tensor weight = torch::zeros(parameter.shape, torch::kFloat32);
    if (parameter.shape.size() == 2) {
      fill_normal(span_of(weight), decoder.config.initializer_range, options.seed, parameter.name);
    } else if (parameter.name.ends_with("norm.weight")) {
      weight.fill_(1.0);
    }
    install(decoder, options, parameter, linear, weight);
  });
}

}  // namespace tune
