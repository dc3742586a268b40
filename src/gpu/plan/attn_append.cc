#include "gpu/plan/attn_append.h"

#include <algorithm>

#include "core/sequences.h"

namespace regard::gpu {

std::string why_unsupported_attn_append(const Problem& problem, int compute_capability) {
  if (compute_capability < 75) {
    return "compute capability " + std::to_string(compute_capability) +
           ": needs 75 (Turing) or newer";
  }
  if (!core::is_paged(problem)) {
    return "keys and values without pages: attn_append writes into pages";
  }
  if (problem.q.dtype != DType::f16 && problem.q.dtype != DType::bf16) {
    return "dtype of q, k and v: the GPU engine appends f16 and bf16; convert the operands";
  }
  const int64_t heads = problem.q.heads + problem.k.heads;
  return heads > kMostGridBlocks ? limit_text("number of heads", heads, kMostGridBlocks) : "";
}

AttnAppendPlan plan_attn_append(const Problem& problem, const Appended& appended,
                                const RotaryPositions& rotary, const View& rotated_q) {
  AttnAppendPlan plan{.config = config_of(problem), .params = {}};
  plan.config = {.element = plan.config.element,
                 .num_warps = 4,
                 .is_packed = plan.config.is_packed,
                 .is_paged = true};
  AttnAppendParams& params = plan.params;
  set_params(problem, params);
  params.k_cache = result(problem.k);
  params.v_cache = result(problem.v);
  params.new_k = operand(appended.k);
  params.new_v = operand(appended.v);
  params.new_len = static_cast<int>(appended.k.seq);
  params.new_offsets = appended.offsets;
  params.old_lengths = appended.old_lengths;
  params.rotated_q = result(rotated_q);
  params.query_step = rotary.has_query_positions ? 1 : 0;
  params.first_positions = rotary.first;
  params.cos = rotary.cos;
  params.sin = rotary.sin;
  params.table_format = rotary.dtype == DType::f32    ? BiasFormat::f32
                        : rotary.dtype == DType::bf16 ? BiasFormat::bf16
                                                      : BiasFormat::f16;
  params.rotary_dim = static_cast<int>(rotary.dim);
  params.is_interleaved = rotary.is_interleaved ? 1 : 0;
  const bool rotates_q = rotated_q.data != nullptr;
  const int64_t most_tokens = std::max(appended.k.seq, rotates_q ? problem.q.seq : 0);
  plan.grid = {(most_tokens + plan.config.num_warps - 1) / plan.config.num_warps,
               problem.k.heads + (rotates_q ? problem.q.heads : 0), core::num_sequences(problem)};
  return plan;
}

}  // namespace regard::gpu
