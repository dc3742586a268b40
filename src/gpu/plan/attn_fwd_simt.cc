#include "gpu/plan/attn_fwd_simt.h"

#include <algorithm>

#include "core/features.h"
#include "core/sequences.h"
#include "gpu/plan/emit_programs.h"

namespace regard::gpu {
namespace {

using core::Feature;
constexpr uint32_t kServed = bit(Feature::chunks) | bit(Feature::lengths) | bit(Feature::pages) |
                             bit(Feature::block_mask) | bit(Feature::sink) |
                             bit(Feature::score_program) | bit(Feature::mask_program);

}  // namespace

std::string why_unsupported_attn_fwd_simt(const Problem& problem, int compute_capability) {
  if (std::string reason = why_unplannable(problem, kServed, compute_capability); !reason.empty()) {
    return reason;
  }
  if (problem.q.dim > 512 || problem.v.dim > 512) {
    return limit_text("head size", std::max(problem.q.dim, problem.v.dim), 512);
  }
  return "";
}

AttnFwdPlan plan_attn_fwd_simt(const Problem& problem, const ForwardOutputs& outputs,
                               int compute_capability) {
  AttnConfig config = config_of(problem);
  config.head_dim = round_up(problem.q.dim, 32);
  config.value_dim = round_up(problem.v.dim, 32);
  config.is_vectorised = config.is_vectorised && has_whole_pieces(outputs.o);
  AttnFwdPlan plan{.config = with_simt_tiles(config, compute_capability),
                   .params = {},
                   .programs = emit_programs(problem)};
  set_params(problem, plan.params);
  plan.params.o = result(outputs.o);
  plan.params.lse = {outputs.lse.data, outputs.lse.stride_batch, outputs.lse.stride_head};
  plan.grid = {(problem.q.seq + plan.config.block_q - 1) / plan.config.block_q, problem.q.heads,
               core::num_sequences(problem) + (plan.config.has_lengths ? 1 : 0)};
  return plan;
}

}  // namespace regard::gpu
