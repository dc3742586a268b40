#include "gpu/plan/sage_fwd_mma.h"

#include "core/features.h"
#include "core/sequences.h"

namespace regard::gpu {
namespace {

OperandView operand(const ResultView& view) {
  return {view.data, view.stride_batch, view.stride_seq, view.stride_head};
}

}  // namespace

std::string why_unsupported_sage_fwd_mma(const Problem& problem, int compute_capability) {
  return why_unsupported_sage_quantize(problem, core::bit(core::Feature::chunks),
                                       compute_capability);
}

void SageFwdPlan::set_workspace(void* data) {
  operands.set_workspace(data);
  const SageParams& from = operands.params;
  params.q = operand(from.q_int8);
  params.k = operand(from.k_int8);
  params.v = from.v_rounded.data == nullptr ? from.v : operand(from.v_rounded);
  params.q_scales = from.q_scales;
  params.k_scales = from.k_scales;
  params.shifts = from.shifts;
  params.value_scales = from.value_scales;
}

SageFwdPlan plan_sage_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability) {
  SageFwdPlan plan{.operands = plan_sage_quantize(problem), .config = {}, .params = {}};
  AttnConfig config = config_of(problem);
  config.head_dim = plan.operands.config.head_dim / 2;
  const ValueFormat values = problem.quantization.values;
  config.values = values == ValueFormat::f16       ? ValueRounding::f16
                  : values == ValueFormat::f8_e4m3 ? ValueRounding::e4m3
                                                   : ValueRounding::none;
  config.is_vectorised =
      has_whole_pieces(outputs.o) && (values != ValueFormat::exact || has_whole_pieces(problem.v));
  plan.config = with_sage_tiles(config, compute_capability);
  plan.params = plan.operands.params;
  plan.params.head_dim = config.head_dim;
  plan.config.folds_scale = plan.config.folds_scale && plan.params.score_factor > 0.0f;
  plan.params.o = result(outputs.o);
  plan.params.lse = {outputs.lse.data, outputs.lse.stride_batch, outputs.lse.stride_head};
  plan.grid = {(problem.q.seq + plan.config.block_q - 1) / plan.config.block_q, problem.q.heads,
               core::num_sequences(problem)};
  return plan;
}

}  // namespace regard::gpu
