#include "tune/model/attention_probe.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <numeric>

#include "regard/cuda.h"
#include "regard/error.h"
#include "tune/error.h"
#include "tune/model/attention_op.h"
#include "tune/model/decoder.h"
#include "tune/model/device.h"

namespace tune {
namespace {

constexpr int64_t kTokens = 32;  // s2 wants a multiple of 4; two documents of half of them

ops::AttentionShape shape_of(const ModelConfig& config, const ModelOptions& options,
                             const FlexPrograms* programs, int64_t row_length, bool is_training) {
  ops::AttentionShape shape;
  shape.choice = {options.attention, row_length, is_training, programs};
  shape.num_heads = config.num_attention_heads;
  shape.num_kv_heads = config.num_key_value_heads;
  shape.head_dim = config.head_dim;
  shape.window = config.sliding_window;
  return shape;
}

std::optional<FlexPrograms> programs_of(const ModelConfig& config, const ModelOptions& options,
                                        const torch::Device& device) {
  std::optional<FlexPrograms> programs;
  if (options.attention == regard::Module::flex_attention && !options.flex.is_empty()) {
    programs.emplace(options.flex, config.num_attention_heads, device);
  }
  return programs;
}

void run_once(const ModelConfig& config, const ModelOptions& options, const FlexPrograms* programs,
              bool is_training) {
  const torch::AutoGradMode with_gradients(is_training);
  std::vector<int32_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 0);
  const ops::SequenceLayout layout =
      sequence_layout(config, positions, {0, kTokens / 2, kTokens}, options.device);
  const ops::AttentionShape shape = shape_of(config, options, programs, kTokens, is_training);
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
  const std::optional<FlexPrograms> programs = programs_of(config, options, options.device);
  try {
    run_once(config, options, programs ? &*programs : nullptr, is_training);
  } catch (const regard::Error& refusal) {
    if (refusal.code() != regard::ErrorCode::unsupported) throw;
    throw UsageError(std::string(regard::module_info(options.attention).name) +
                     " cannot run this model on this GPU: " + refusal.what() +
                     ". Choose another module, or hide the GPU with CUDA_VISIBLE_DEVICES=\"\"");
  }
}

void compile_attention(const ModelConfig& config, const ModelOptions& options, int64_t num_tokens,
                       int compute_capability) {
  if (options.attention == regard::Module::eager) return;
  const std::optional<FlexPrograms> programs = programs_of(config, options, torch::kCPU);
  std::vector<int32_t> positions(static_cast<size_t>(num_tokens));
  std::iota(positions.begin(), positions.end(), 0);
  const auto last = static_cast<int32_t>(num_tokens);
  const ops::SequenceLayout layout =
      sequence_layout(config, positions, {0, last / 2, last}, torch::kCPU);
  const ops::AttentionShape shape =
      shape_of(config, options, programs ? &*programs : nullptr, num_tokens, true);
  // Memory that nobody touches. The kernels without f32 get their operands as bf16.
  const bool is_exact =
      options.compute_dtype == torch::kFloat32 && !ops::takes_bf16_on_gpu(options.attention);
  const auto operand = [&](int64_t heads) {
    return torch::empty({num_tokens, heads * config.head_dim},
                        is_exact ? torch::kFloat32 : torch::kBFloat16);
  };
  const regard::Problem problem =
      ops::attention_problem(operand(shape.num_heads), operand(shape.num_kv_heads),
                             operand(shape.num_kv_heads), shape, layout);
  for (const regard::Pass pass : {regard::Pass::inference, regard::Pass::training}) {
    regard::compile_cuda_kernels(problem, pass, compute_capability);
  }
}

}  // namespace tune
