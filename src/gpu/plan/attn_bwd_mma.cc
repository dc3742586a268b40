#include "gpu/plan/attn_bwd_mma.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/dtype.h"
#include "core/features.h"
#include "core/sequences.h"
#include "gpu/plan/attn_bwd_terms.h"
#include "gpu/plan/emit_programs.h"

namespace regard::gpu {
namespace {

constexpr uint32_t kServed = core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
                             core::bit(core::Feature::block_mask) | core::bit(core::Feature::sink) |
                             core::bit(core::Feature::score_program) |
                             core::bit(core::Feature::mask_program);

bool has_aligned_rows(const View& view, int64_t elements) {
  const auto num_bytes =
      static_cast<uintptr_t>(std::min<int64_t>(elements * core::bytes_of(view.dtype), 16));
  return reinterpret_cast<uintptr_t>(view.data) % num_bytes == 0 &&
         view.stride_batch % elements == 0 && view.stride_seq % elements == 0 &&
         view.stride_head % elements == 0;
}

GradientView gradient(const View& view) {
  return {view.data,
          view.stride_batch,
          view.stride_seq,
          view.stride_head,
          view.dtype == DType::f32    ? GradientFormat::f32
          : view.dtype == DType::bf16 ? GradientFormat::bf16
                                      : GradientFormat::f16,
          has_aligned_rows(view, 2) ? 1 : 0,
          has_aligned_rows(view, 8) ? 1 : 0};
}

LsePointer lse_pointer(const LseView& view) {
  return {view.data, view.stride_batch, view.stride_head};
}

int64_t blocks_of(int64_t rows, int block) { return (rows + block - 1) / block; }

// Where limits make blocks unequal, as many heads at once as stream 64 MiB (`head_bytes` each): the
// second-level cache of an H100 holds 50 MB, and neighbours read the same rows at the same time.
// Else one head after the other.
int heads_per_section(bool has_limits, int64_t head_bytes, int64_t num_heads) {
  constexpr int64_t kCacheBytes = 64 << 20;
  const int64_t fitting = has_limits ? kCacheBytes / std::max<int64_t>(head_bytes, 1) : 1;
  return static_cast<int>(std::clamp<int64_t>(fitting, 1, std::max<int64_t>(num_heads, 1)));
}

int64_t rows_of_workspace(const AttnBwdParams& params) {
  return params.num_heads * params.num_row_groups * kRowGroup;
}

}  // namespace

void set_bwd_params(const Problem& problem, const BackwardTensors& tensors, AttnBwdParams& params) {
  set_params(problem, params);
  params.o = operand(tensors.o);
  params.d_o = operand(tensors.d_o);
  params.lse = lse_pointer(tensors.lse);
  params.d_lse = lse_pointer(tensors.d_lse);
  params.dq = gradient(tensors.dq);
  params.dk = gradient(tensors.dk);
  params.dv = gradient(tensors.dv);
  params.inverse_scale = 1.0f / params.scale;
  const int64_t groups = (problem.q.seq + kRowGroup - 1) / kRowGroup;
  const int64_t sequences = core::num_sequences(problem);
  params.sequence_row_groups = groups;
  params.num_row_groups = core::is_packed(problem) && !core::uses(problem, core::Feature::lengths)
                              ? problem.q.seq / kRowGroup + sequences
                              : sequences * groups;
}

size_t bwd_workspace_bytes(const AttnBwdParams& params, int64_t floats_of_row) {
  return static_cast<size_t>(rows_of_workspace(params) * floats_of_row) * sizeof(float);
}

void add_row_launches(const Problem& problem, const BackwardTensors& tensors,
                      const AttnConfig& config, AttnBwdPlan& plan) {
  const int64_t heads = problem.q.heads;
  if (config.has_lengths) {
    const AttnConfig clear = clear_config();
    plan.launches.push_back({"attn_bwd_clear",
                             clear,
                             0,
                             {blocks_of(std::max(problem.q.seq, problem.k.seq), clear.num_warps),
                              std::max(heads, problem.k.heads), problem.q.batch}});
  }
  AttnConfig delta = delta_config(config);
  delta.is_vectorised = has_whole_pieces(tensors.o) && has_whole_pieces(tensors.d_o);
  plan.launches.push_back(
      {"attn_bwd_delta",
       delta,
       0,
       {blocks_of(problem.q.seq, kRowGroup), heads, core::num_sequences(problem)}});
}

std::string why_unsupported_attn_bwd_mma(const Problem& problem, const BackwardTensors&,
                                         int compute_capability) {
  if (std::string reason = why_unplannable_mma(problem, kServed, compute_capability);
      !reason.empty()) {
    return reason;
  }
  // Blocks of at least 16 rows and all heads in one dimension of the grid.
  constexpr int64_t kMostRows = int64_t{1} << 34;
  const int64_t rows = std::max(problem.q.seq, problem.k.seq) * problem.q.heads;
  if (rows > kMostRows) {
    return limit_text("sequence length times heads", rows, kMostRows);
  }
  return "";
}

AttnBwdPlan plan_attn_bwd_mma(const Problem& problem, const BackwardTensors& tensors,
                              int compute_capability, bool is_deterministic) {
  AttnBwdPlan plan{.params = {}, .launches = {}, .programs = emit_programs(problem)};
  set_bwd_params(problem, tensors, plan.params);
  AttnConfig config = config_of(problem);
  config.is_deterministic = is_deterministic || config.has_lengths;
  config.is_vectorised = config.is_vectorised && has_whole_pieces(tensors.d_o);
  const AttnConfig tiles = with_bwd_tiles(config, compute_capability);
  const int64_t heads = problem.q.heads, sequences = core::num_sequences(problem);
  const int64_t columns = problem.q.dim + problem.v.dim;
  const int64_t group = plan.params.heads_per_kv_head;
  plan.params.kv_heads_per_section =
      heads_per_section(config.has_limits,
                        group * problem.q.seq * (2 * columns + 4 * problem.q.dim), problem.k.heads);
  plan.params.heads_per_section =
      heads_per_section(config.has_limits, problem.k.seq * 2 * columns / group, heads);
  add_row_launches(problem, tensors, tiles, plan);
  plan.launches.push_back(
      {"attn_bwd_mma",
       tiles,
       bwd_layout(tiles).num_bytes,
       {blocks_of(problem.k.seq, tiles.block_k) * problem.k.heads, 1, sequences}});
  if (config.is_deterministic) {
    const AttnConfig dq = with_dq_tiles(config, compute_capability);
    plan.launches.push_back({"attn_bwd_dq_mma",
                             dq,
                             dq_smem_bytes(dq),
                             {blocks_of(problem.q.seq, dq.block_q) * heads, 1, sequences}});
  } else {
    plan.launches.push_back({"attn_bwd_convert",
                             convert_config(tiles),
                             0,
                             {blocks_of(problem.q.seq, tiles.block_q), heads, sequences}});
  }
  const int64_t floats = 2 + (config.is_deterministic ? 0 : tiles.head_dim);  // of a row
  plan.workspace_bytes = bwd_workspace_bytes(plan.params, floats);
  add_term_launches(problem, tensors, compute_capability, plan);
  return plan;
}

void place_workspace(AttnBwdPlan& plan, void* workspace) {
  const int64_t rows = rows_of_workspace(plan.params);
  plan.params.row_lse = static_cast<float*>(workspace);
  plan.params.row_delta = plan.params.row_lse + rows;
  plan.params.dq_sum = plan.params.row_delta + rows;
  GradientTerms& terms = plan.params.terms;
  terms.sums =
      reinterpret_cast<unsigned long long*>(static_cast<char*>(workspace) + plan.terms_offset);
  terms.largest = reinterpret_cast<unsigned*>(terms.sums + terms.first_sum[kNumTerms]);
}

}  // namespace regard::gpu
