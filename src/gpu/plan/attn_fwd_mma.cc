#include "gpu/plan/attn_fwd_mma.h"

#include <algorithm>

#include "core/sequences.h"

namespace regard::gpu {

std::string why_unsupported_attn_fwd_mma(const Problem& problem, int compute_capability) {
  if (compute_capability < 75) {
    return "compute capability " + std::to_string(compute_capability) +
           ": needs 75 (Turing) or newer";
  }
  if (std::string reason = why_unplannable(problem, 0); !reason.empty()) {
    return reason;
  }
  if (problem.mask.data != nullptr) {
    return "a mask tensor: the GPU engine does not serve it yet";
  }
  if (problem.bias.data != nullptr) {
    return "a bias tensor: the GPU engine does not serve it yet";
  }
  if (problem.dropout.probability != 0.0f) {
    return "dropout: the GPU engine does not serve it yet";
  }
  if (problem.q.dtype == DType::f32) {
    return "dtype f32: the GPU engine serves f16 and bf16; convert the operands";
  }
  if (problem.q.dtype == DType::bf16 && compute_capability < 80) {
    return "dtype bf16: needs compute capability 80 (Ampere); use f16 on Turing";
  }
  if (problem.q.dim > 256 || problem.v.dim > 256) {
    return limit_text("head size", std::max(problem.q.dim, problem.v.dim), 256);
  }
  return "";
}

AttnFwdPlan plan_attn_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability) {
  AttnConfig config = config_of(problem);
  config.is_vectorised = config.is_vectorised && has_whole_pieces(outputs.o);
  AttnFwdPlan plan{.config = with_tiles(config, compute_capability), .params = {}};
  set_params(problem, plan.params);
  plan.params.o = result(outputs.o);
  plan.params.lse = {outputs.lse.data, outputs.lse.stride_batch, outputs.lse.stride_head};
  plan.grid = {(problem.q.seq + plan.config.block_q - 1) / plan.config.block_q, problem.q.heads,
               core::num_sequences(problem)};
  return plan;
}

}  // namespace regard::gpu
