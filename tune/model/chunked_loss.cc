#include "tune/model/chunked_loss.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "tune/error.h"
#include "tune/model/device.h"
#include "tune/model/row_ops.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Bytes of logits that exist at a time: with 49152 ids in bf16 this is 170 tokens, enough rows for
// the matrix product to reach its speed. A GPU wants whole waves of tiles: 2048 tokens of 128256
// ids.
constexpr int64_t kLogitBytes = 16 << 20, kGpuLogitBytes = 512 << 20;
constexpr int64_t kMinChunk = 16, kMaxChunk = 512, kMaxGpuChunk = 4096;

int64_t chunk_size(const torch::Tensor& weight) {
  const int64_t row_bytes = weight.size(0) * static_cast<int64_t>(weight.element_size());
  const bool is_gpu = weight.is_cuda();
  return std::clamp((is_gpu ? kGpuLogitBytes : kLogitBytes) / row_bytes, kMinChunk,
                    is_gpu ? kMaxGpuChunk : kMaxChunk);
}

struct LossAndGradients {
  torch::Tensor loss;                // f64 scalar
  torch::Tensor d_hidden, d_weight;  // undefined where not needed
};

struct Wanted {
  bool d_hidden = false, d_weight = false;
};

// One chunk: `rows` [n, width] of the hidden states.
void run_chunk(const torch::Tensor& rows_in, const torch::Tensor& weight, const torch::Tensor& ids,
               Wanted wanted, LossAndGradients& result, torch::Tensor& d_rows) {
  const torch::Tensor logits = torch::mm(rows_in, weight.t());
  const torch::Tensor losses = cross_entropy_rows(logits, ids, wanted.d_hidden || wanted.d_weight);
  result.loss.add_(losses.sum(torch::kFloat64));
  if (wanted.d_hidden) d_rows = torch::mm(logits, weight);
  if (wanted.d_weight) result.d_weight.add_(torch::mm(logits.t(), rows_in));
}

LossAndGradients all_chunks(const torch::Tensor& hidden, const torch::Tensor& weight,
                            const LossTargets& targets, Wanted wanted) {
  LossAndGradients result;
  result.loss = torch::zeros({}, hidden.options().dtype(torch::kFloat64));
  if (wanted.d_hidden) result.d_hidden = torch::zeros_like(hidden);
  if (wanted.d_weight)
    result.d_weight = torch::zeros(weight.sizes(), weight.options().dtype(torch::kFloat32));
  const int64_t num_targets = targets.ids.numel();
  const int64_t step = chunk_size(weight);
  for (int64_t first = 0; first < num_targets; first += step) {
    const int64_t count = std::min(step, num_targets - first);
    const torch::Tensor positions = targets.positions.narrow(0, first, count);
    torch::Tensor d_rows;
    run_chunk(hidden.index_select(0, positions), weight, targets.ids.narrow(0, first, count),
              wanted, result, d_rows);
    if (wanted.d_hidden) result.d_hidden.index_copy_(0, positions, d_rows);
  }
  return result;
}

class ChunkedCrossEntropy : public torch::autograd::Function<ChunkedCrossEntropy> {
 public:
  // `masters`: the weight's f32 master when it is trained, else empty.
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& hidden,
                               at::TensorList masters, const torch::Tensor& weight,
                               LossTargets targets, bool has_backward) {
    const Wanted wanted{has_backward && hidden.requires_grad(), has_backward && !masters.empty()};
    const LossAndGradients result = all_chunks(hidden, weight, targets, wanted);
    ctx->saved_data["d_hidden"] = result.d_hidden;
    ctx->saved_data["d_weight"] = result.d_weight;
    ctx->saved_data["num_masters"] = static_cast<int64_t>(masters.size());
    return result.loss.to(torch::kFloat32);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    // In f32 as a tensor: reading it here would wait for the GPU.
    const torch::Tensor factor = grads[0];
    variable_list result;
    const auto scaled = [&](const char* name) {
      const torch::Tensor gradient = ctx->saved_data[name].toTensor();
      if (!gradient.defined()) return gradient;
      return gradient.to(torch::kFloat32).mul_(factor).to(gradient.scalar_type());
    };
    result.push_back(scaled("d_hidden"));
    if (ctx->saved_data["num_masters"].toInt() > 0) result.push_back(scaled("d_weight"));
    result.insert(result.end(), 3, torch::Tensor());
    return result;
  }
};

}  // namespace

LossTargets loss_targets(const Batch& batch, int64_t vocab_size, const torch::Device& device) {
  std::vector<int64_t> positions, ids;
  for (size_t d = 0; d + 1 < batch.document_offsets.size(); ++d) {
    for (int64_t i = batch.document_offsets[d]; i + 1 < batch.document_offsets[d + 1]; ++i) {
      const int32_t label = batch.labels[static_cast<size_t>(i + 1)];
      if (label == kIgnoreLabel) continue;
      if (label < 0 || label >= vocab_size) {
        throw Error("label " + std::to_string(label) + " at token " + std::to_string(i + 1) +
                    " of a batch: must be " + std::to_string(kIgnoreLabel) + " or an id below " +
                    std::to_string(vocab_size));
      }
      positions.push_back(i);
      ids.push_back(label);
    }
  }
  return {on_device(positions, torch::kInt64, device), on_device(ids, torch::kInt64, device)};
}

torch::Tensor chunked_cross_entropy(const torch::Tensor& hidden, const Parameter& weight,
                                    const LossTargets& targets) {
  std::vector<torch::Tensor> masters;
  if (weight.is_trained()) masters.push_back(weight.master);
  return ChunkedCrossEntropy::apply(hidden, at::TensorList(masters), weight.value, targets,
                                    torch::GradMode::is_enabled());
}

}  // namespace tune::ops
