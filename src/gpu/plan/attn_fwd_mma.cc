#include "gpu/plan/attn_fwd_mma.h"

#include <algorithm>

#include "core/features.h"
#include "core/sequences.h"
#include "gpu/plan/emit_programs.h"

namespace regard::gpu {

namespace {

using core::Feature;

constexpr uint32_t kServed = core::bit(Feature::chunks) | core::bit(Feature::lengths) |
                             core::bit(Feature::block_mask) | core::bit(Feature::sink) |
                             core::bit(Feature::score_program) | core::bit(Feature::mask_program);

// Whether elements of keys 2 i and 2 i + 1 lie in one aligned place, where there is such a tensor.
template <class Tensor>
bool has_twos(const Tensor& tensor, size_t element_bytes) {
  return tensor.data == nullptr ||
         (reinterpret_cast<uintptr_t>(tensor.data) % (2 * element_bytes) == 0 &&
          tensor.stride_k == 1 && tensor.stride_batch % 2 == 0 && tensor.stride_head % 2 == 0 &&
          tensor.stride_q % 2 == 0);
}

// Keys of documents begin anywhere, and those of pages end anywhere.
bool has_twos(const Problem& problem) {
  const bool has_tensor = problem.mask.data != nullptr || problem.bias.data != nullptr;
  return has_tensor && !core::is_packed(problem) && !core::is_paged(problem) &&
         problem.k.seq % 2 == 0 && has_twos(problem.mask, 1) &&
         has_twos(problem.bias, problem.bias.dtype == DType::f32 ? 4 : 2);
}

}  // namespace

std::string why_unsupported_attn_fwd_mma(const Problem& problem, int compute_capability) {
  return why_unplannable_mma(problem, kServed, compute_capability);
}

AttnFwdPlan plan_attn_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability) {
  AttnConfig config = config_of(problem);
  config.is_vectorised = config.is_vectorised && has_whole_pieces(outputs.o);
  config.loads_twos = has_twos(problem);
  // Documents may be short where the packed rows are long; the host does not know.
  const bool has_few_keys = !core::is_packed(problem) && problem.k.seq <= kFewKeys;
  AttnFwdPlan plan{.config = with_tiles(config, compute_capability, has_few_keys), .params = {}};
  set_params(problem, plan.params);
  plan.config.folds_scale = plan.config.folds_scale && plan.params.score_factor > 0.0f;
  plan.params.o = result(outputs.o);
  plan.params.lse = {outputs.lse.data, outputs.lse.stride_batch, outputs.lse.stride_head};
  plan.programs = emit_programs(problem);
  const bool may_have_unowned_rows = problem.documents.q_lengths != nullptr;
  plan.grid = {(problem.q.seq + plan.config.block_q - 1) / plan.config.block_q, problem.q.heads,
               core::num_sequences(problem) + (may_have_unowned_rows ? 1 : 0)};
  return plan;
}

}  // namespace regard::gpu
