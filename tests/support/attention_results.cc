#include "tests/support/attention_results.h"

#include <algorithm>

namespace regard::testing {
namespace {

int64_t extent(int64_t stride, int64_t length) { return stride == 0 ? 1 : length; }

Shape bias_shape(const CaseOperands& operands) {
  const Problem& problem = operands.problem();
  const BiasTensor& bias = problem.bias;
  if (!operands.asks_score_gradients() || bias.data == nullptr) {
    return {};
  }
  return {extent(bias.stride_batch, problem.q.batch), extent(bias.stride_q, problem.q.seq),
          extent(bias.stride_head, problem.q.heads), extent(bias.stride_k, problem.k.seq)};
}

Shape slopes_shape(const CaseOperands& operands) {
  const Alibi& alibi = operands.problem().alibi;
  const View& q = operands.problem().q;
  if (!operands.asks_score_gradients() || alibi.slopes == nullptr) {
    return {};
  }
  return {1, 1, extent(alibi.stride_batch, q.batch), q.heads};
}

Shape sink_shape(const CaseOperands& operands) {
  const Problem& problem = operands.problem();
  if (!operands.asks_score_gradients() || problem.sink.logits == nullptr) {
    return {};
  }
  return {1, 1, 1, problem.q.heads};
}

float* data_or_null(const GuardedTensor& tensor) {
  return shape_of(tensor.view()).dim == 0 ? nullptr : static_cast<float*>(tensor.view().data);
}

}  // namespace

AttentionResults::AttentionResults(const AttentionCase& config, const CaseOperands& operands)
    : AttentionResults(operands, config.result_dtype(), config.gradient_dtype, config.layout) {}

AttentionResults::AttentionResults(const CaseOperands& operands)
    : AttentionResults(operands, DType::f32, DType::f32, Layout::bshd) {}

AttentionResults::AttentionResults(const CaseOperands& operands, DType o_dtype,
                                   DType gradient_dtype, Layout layout)
    : o(o_dtype, shape_of(operands.d_o()), layout),
      dq(gradient_dtype, shape_of(operands.problem().q), layout),
      dk(gradient_dtype, shape_of(operands.problem().k), layout),
      dv(gradient_dtype, shape_of(operands.problem().v), layout),
      lse(operands.problem().q.batch, operands.problem().q.heads, operands.problem().q.seq),
      d_bias(DType::f32, bias_shape(operands), layout),
      d_slopes(DType::f32, slopes_shape(operands), Layout::bshd),
      d_sink(DType::f32, sink_shape(operands), Layout::bshd) {
  const BoundProgram& program = operands.problem().score_program;
  for (int32_t i = 0; i < program.num_tensors && operands.asks_score_gradients(); ++i) {
    d_tensors.emplace_back(DType::f32, Shape{1, 1, 1, num_elements(program.tensors[i])},
                           Layout::bshd);
    d_tensor_pointers_.push_back(static_cast<float*>(d_tensors.back().view().data));
  }
}

BackwardTensors AttentionResults::tensors(const CaseOperands& operands) {
  BackwardTensors tensors{.o = o.view(),
                          .lse = lse.view(),
                          .d_o = operands.d_o(),
                          .d_lse = operands.d_lse(),
                          .dq = dq.view(),
                          .dk = dk.view(),
                          .dv = dv.view()};
  const BiasTensor& bias = operands.problem().bias;
  const View& view = d_bias.view();
  tensors.d_bias = {.data = data_or_null(d_bias),
                    .stride_batch = bias.stride_batch == 0 ? 0 : view.stride_batch,
                    .stride_head = bias.stride_head == 0 ? 0 : view.stride_head,
                    .stride_q = bias.stride_q == 0 ? 0 : view.stride_seq,
                    .stride_k = bias.stride_k == 0 ? 0 : 1};
  tensors.d_slopes = data_or_null(d_slopes);
  tensors.d_sink = data_or_null(d_sink);
  tensors.d_tensors = d_tensor_pointers_.empty() ? nullptr : d_tensor_pointers_.data();
  return tensors;
}

bool AttentionResults::guards_intact() const {
  for (const GuardedTensor* tensor : {&o, &dq, &dk, &dv, &d_bias, &d_slopes, &d_sink}) {
    if (!tensor->guards_intact()) {
      return false;
    }
  }
  return lse.guards_intact() &&
         std::all_of(d_tensors.begin(), d_tensors.end(),
                     [](const GuardedTensor& tensor) { return tensor.guards_intact(); });
}

bool AttentionResults::has_same_bits(const AttentionResults& other) const {
  return o.bytes() == other.o.bytes() && dq.bytes() == other.dq.bytes() &&
         dk.bytes() == other.dk.bytes() && dv.bytes() == other.dv.bytes() &&
         lse.bytes() == other.lse.bytes() && d_bias.bytes() == other.d_bias.bytes() &&
         d_slopes.bytes() == other.d_slopes.bytes() && d_sink.bytes() == other.d_sink.bytes() &&
         std::equal(
             d_tensors.begin(), d_tensors.end(), other.d_tensors.begin(), other.d_tensors.end(),
             [](const GuardedTensor& a, const GuardedTensor& b) { return a.bytes() == b.bytes(); });
}

}  // namespace regard::testing
