#include "tune/model/attention_probe.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <numeric>

#include "regard/error.h"
#include "tune/error.h"
#include "tune/model/attention_op.h"
#include "tune/model/decoder.h"
#include "tune/model/device.h"

namespace tune {
namespace {

constexpr int64_t kTokens = 32;  // s2 wants a multiple of 4; two documents of half of them

void run_once(const ModelConfig& config, const ModelOptions& options, const FlexPrograms* programs,
              bool is_training) {
  const torch::AutoGradMode with_gradients(is_training);
  std::vector<int32_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 0);
  const ops::SequenceLayout layout =
      sequence_layout(config, positions, {0, kTokens / 2, kTokens}, options.device);
  ops::AttentionShape shape;
  shape.choice = {options.attention, kTokens, is_training, programs};
  shape.num_heads = config.num_attention_heads;
  shape.num_kv_heads = config.num_key_value_heads;
  shape.head_dim = config.head_dim;
  shape.window = config.sliding_window;
  const auto operand = [&](int64_t heads) {
    const auto type = torch::TensorOptions().dtype(options.compute_dtype).device(options.device);
    return torch::zeros({kTokens, heads * config.head_dim}, type).requires_grad_(is_training);
  };
  const torch::Tensor o =
      ops::rotary_attention(operand(shape.num_heads), operand(shape.num_kv_heads),
                            operand(shape.num_kv_heads), shape, layout);
  if (is_training) o.sum().backward();
  synchronize(options.device);
}

}  // namespace

void probe_attention(const ModelConfig& config, const ModelOptions& options, bool is_training) {
  if (!options.device.is_cuda()) return;
  std::optional<FlexPrograms> programs;
  if (options.attention == regard::Module::flex_attention && !options.flex.is_empty()) {
    programs.emplace(options.flex, config.num_attention_heads, options.device);
  }
  try {
    run_once(config, options, programs ? &*programs : nullptr, is_training);
  } catch (const regard::Error& refusal) {
    if (refusal.code() != regard::ErrorCode::unsupported) throw;
    throw UsageError(std::string(regard::module_info(options.attention).name) +
                     " cannot run this model on this GPU: " + refusal.what() +
                     ". Choose another module, or hide the GPU with CUDA_VISIBLE_DEVICES=\"\"");
  }
}

}  // namespace tune
