#include "gpu/plan/attn_bwd_simt.h"

#include <algorithm>

#include "core/features.h"
#include "core/sequences.h"
#include "gpu/plan/attn_bwd_terms.h"
#include "gpu/plan/emit_programs.h"

namespace regard::gpu {
namespace {

using core::Feature;
constexpr uint32_t kServed = bit(Feature::chunks) | bit(Feature::lengths) |
                             bit(Feature::block_mask) | bit(Feature::sink) |
                             bit(Feature::score_program) | bit(Feature::mask_program);

}  // namespace

std::string why_unsupported_attn_bwd_simt(const Problem& problem, const BackwardTensors&,
                                          int compute_capability) {
  if (std::string reason = why_unplannable(problem, kServed, compute_capability); !reason.empty()) {
    return reason;
  }
  if (problem.q.dim > 512 || problem.v.dim > 512) {
    return limit_text("head size", std::max(problem.q.dim, problem.v.dim), 512);
  }
  return "";
}

AttnConfig simt_bwd_config(const Problem& problem, const BackwardTensors& tensors) {
  AttnConfig config = config_of(problem);
  config.is_deterministic = true;
  config.head_dim = round_up(problem.q.dim, 32);
  config.value_dim = round_up(problem.v.dim, 32);
  config.is_vectorised = config.is_vectorised && has_whole_pieces(tensors.d_o);
  return config;
}

AttnBwdPlan plan_attn_bwd_simt(const Problem& problem, const BackwardTensors& tensors,
                               int compute_capability) {
  AttnBwdPlan plan{.params = {}, .launches = {}, .programs = emit_programs(problem)};
  set_bwd_params(problem, tensors, plan.params);
  const AttnConfig config = simt_bwd_config(problem, tensors);
  add_row_launches(problem, tensors, config, plan);
  const AttnConfig dkv = with_simt_dkv_tiles(config, compute_capability);
  const AttnConfig dq = with_simt_dq_tiles(config, compute_capability);
  const int64_t sequences = core::num_sequences(problem);
  plan.launches.push_back(
      {"attn_bwd_simt_dkv",
       dkv,
       key_gradient_layout(dkv).smem_bytes(),
       {(problem.k.seq + dkv.block_k - 1) / dkv.block_k, problem.k.heads, sequences}});
  plan.launches.push_back(
      {"attn_bwd_simt_dq",
       dq,
       query_gradient_layout(dq).smem_bytes(),
       {(problem.q.seq + dq.block_q - 1) / dq.block_q, problem.q.heads, sequences}});
  plan.workspace_bytes = bwd_workspace_bytes(plan.params, 2);
  add_term_launches(problem, tensors, compute_capability, plan);
  return plan;
}

}  // namespace regard::gpu
