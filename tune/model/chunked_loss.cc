#include "tune/model/chunked_loss.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "tune/error.h"
#include "tune/model/tensor_rows.h"

namespace tune::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Bytes of logits that exist at a time: with 49152 ids in bf16 this is 170 tokens, enough rows for
// the matrix product to reach its speed.
constexpr int64_t kLogitBytes = 16 << 20;
constexpr int64_t kMinChunk = 16, kMaxChunk = 512;

int64_t chunk_size(int64_t vocab_size, int64_t element_bytes) {
  const int64_t fitting = kLogitBytes / (vocab_size * element_bytes);
  return std::clamp(fitting, kMinChunk, kMaxChunk);
}

struct LossAndGradients {
  double loss = 0.0;
  torch::Tensor d_hidden, d_weight;  // undefined where not needed
};

struct Wanted {
  bool d_hidden = false, d_weight = false;
};

// One chunk: `rows` [n, width] of the hidden states.
void run_chunk(const torch::Tensor& rows_in, const torch::Tensor& weight, const torch::Tensor& ids,
               Wanted wanted, const torch::Tensor& losses, torch::Tensor& d_rows,
               const torch::Tensor& d_weight) {
  const torch::Tensor logits = torch::mm(rows_in, weight.t());
  for_rows(logits.size(0), logits.size(1), [&](rows::Range range) {
    rows::cross_entropy(matrix_of(logits), ids.data_ptr<int64_t>(), losses.data_ptr<float>(),
                        wanted.d_hidden || wanted.d_weight, range);
  });
  if (wanted.d_hidden) d_rows = torch::mm(logits, weight);
  if (wanted.d_weight) d_weight.add_(torch::mm(logits.t(), rows_in));
}

LossAndGradients all_chunks(const torch::Tensor& hidden, const torch::Tensor& weight,
                            const LossTargets& targets, Wanted wanted) {
  LossAndGradients result;
  if (wanted.d_hidden) result.d_hidden = torch::zeros_like(hidden);
  if (wanted.d_weight) result.d_weight = torch::zeros(weight.sizes(), torch::kFloat32);
  const int64_t num_targets = targets.ids.numel();
  const int64_t step = chunk_size(weight.size(0), weight.element_size());
  for (int64_t first = 0; first < num_targets; first += step) {
    const int64_t count = std::min(step, num_targets - first);
    const torch::Tensor positions = targets.positions.narrow(0, first, count);
    const torch::Tensor losses = torch::empty({count}, torch::kFloat32);
    torch::Tensor d_rows;
    run_chunk(hidden.index_select(0, positions), weight, targets.ids.narrow(0, first, count),
              wanted, losses, d_rows, result.d_weight);
    if (wanted.d_hidden) result.d_hidden.index_copy_(0, positions, d_rows);
    result.loss += losses.sum(torch::kFloat64).item<double>();
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
    return torch::tensor(result.loss, torch::kFloat64).to(torch::kFloat32);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const float factor = grads[0].item<float>();
    variable_list result;
    const auto scaled = [&](const char* name) {
      const torch::Tensor gradient = ctx->saved_data[name].toTensor();
      return gradient.defined() ? gradient.mul(factor) : gradient;
    };
    result.push_back(scaled("d_hidden"));
    if (ctx->saved_data["num_masters"].toInt() > 0) result.push_back(scaled("d_weight"));
    result.insert(result.end(), 3, torch::Tensor());
    return result;
  }
};

}  // namespace

LossTargets loss_targets(const Batch& batch, int64_t vocab_size) {
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
  return {torch::tensor(positions, torch::kInt64), torch::tensor(ids, torch::kInt64)};
}

torch::Tensor chunked_cross_entropy(const torch::Tensor& hidden, const Parameter& weight,
                                    const LossTargets& targets) {
  std::vector<torch::Tensor> masters;
  if (weight.is_trained()) masters.push_back(weight.master);
  return ChunkedCrossEntropy::apply(hidden, at::TensorList(masters), weight.value, targets,
                                    torch::GradMode::is_enabled());
}

}  // namespace tune::ops
