#include "gpu/plan/attn_decode_mma.h"

#include <algorithm>

#include "core/features.h"
#include "core/sequences.h"
#include "gpu/plan/emit_programs.h"

namespace regard::gpu {
namespace {

constexpr int kMostSplits = 128;
// A part costs about as much as this many steps before its first one: copies that nothing hides,
// the merge of the warps, the part's place in the workspace.
constexpr int kStepsOfOverhead = 2;
// Keys for which what a block does before its first step and after its last is below 2 %.
constexpr int64_t kLongRun = 8192;

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

int64_t group_of(const Problem& problem) {
  return problem.k.heads == 0 ? 1 : problem.q.heads / problem.k.heads;
}

// Queries of a sequence; the mean of packed ones, whose offsets lie in the GPU's memory.
int64_t usual_queries(const Problem& problem) {
  return core::is_packed(problem) ? divide_up(problem.q.seq, problem.documents.count)
                                  : problem.q.seq;
}

// Keys of a sequence that a query may see, at most; of packed ones on average.
int64_t usual_keys(const Problem& problem) {
  const Pages& pages = problem.pages;
  int64_t keys = problem.k.seq;
  if (core::is_paged(problem)) {
    keys *= pages.stride == 0 ? problem.k.batch : std::min(pages.stride, problem.k.batch);
  } else if (core::is_packed(problem)) {
    keys = divide_up(keys, problem.documents.count);
  }
  const bool has_right = problem.window.right >= 0 || problem.causal != Causal::none;
  if (problem.window.left >= 0 && has_right) {
    const int64_t right = problem.causal == Causal::none ? problem.window.right : 0;
    keys = std::min(keys, problem.window.left + right + usual_queries(problem));
  }
  return keys;
}

int64_t smem_of_multiprocessor(int compute_capability) {
  return smem_limit_bytes(compute_capability) + 1024;  // 1 KiB of each block is the system's
}

}  // namespace

int num_splits_of(int64_t num_blocks, int64_t num_keys, int64_t num_resident, int block_k) {
  const int64_t num_steps = divide_up(num_keys, block_k);
  const int64_t most = std::min<int64_t>(num_steps, kMostSplits);
  const auto cost = [&](int64_t splits) {
    const int64_t rounds = divide_up(num_blocks * splits, num_resident);
    return rounds * (divide_up(num_steps, splits) + kStepsOfOverhead);
  };
  int64_t least = cost(1);
  for (int64_t splits = 2; splits <= most; ++splits) {
    least = std::min(least, cost(splits));
  }
  int64_t best = 1;  // the fewest within a twentieth of the least: parts have to be merged
  while (best < most && 20 * cost(best) > 21 * least) {
    ++best;
  }
  return static_cast<int>(best);
}

std::string why_unsupported_attn_decode_mma(const Problem& problem, int compute_capability) {
  using core::bit, core::Feature;
  constexpr uint32_t kServed = bit(Feature::chunks) | bit(Feature::lengths) | bit(Feature::pages) |
                               bit(Feature::block_mask) | bit(Feature::sink) |
                               bit(Feature::score_program) | bit(Feature::mask_program);
  if (std::string reason = why_unplannable_mma(problem, kServed, compute_capability);
      !reason.empty()) {
    return reason;
  }
  if (problem.documents.q_lengths != nullptr) {
    return "q_lengths of documents: the decoding kernel of the GPU engine does not serve them";
  }
  if (problem.dropout.probability != 0.0f) {
    return "dropout: the decoding kernel of the GPU engine does not serve it";
  }
  const int64_t rows = usual_queries(problem) * group_of(problem);
  return core::is_paged(problem) || rows <= kMostDecodeRows
             ? ""
             : limit_text("number of query rows that share keys", rows, kMostDecodeRows);
}

size_t AttnDecodePlan::workspace_bytes() const {
  return params.num_splits == 1 ? 0
                                : sizeof(float) * static_cast<size_t>(params.num_splits) *
                                      static_cast<size_t>(params.num_rows) *
                                      (static_cast<size_t>(config.value_dim) + 2);
}

void AttnDecodePlan::set_workspace(void* data) {
  const int64_t num_sums = params.num_splits * params.num_rows;
  params.partial_out = static_cast<float*>(data);
  params.partial_max = params.partial_out + num_sums * config.value_dim;
  params.partial_sum = params.partial_max + num_sums;
}

AttnDecodePlan plan_attn_decode_mma(const Problem& problem, const ForwardOutputs& outputs,
                                    int compute_capability, int num_multiprocessors) {
  AttnConfig config = config_of(problem);
  config.is_vectorised = config.is_vectorised && has_whole_pieces(outputs.o);
  const int64_t usual_rows = usual_queries(problem) * group_of(problem);
  const int64_t num_sequences = core::num_sequences(problem);
  const bool has_long_runs =
      problem.k.heads * num_sequences <= num_multiprocessors || usual_keys(problem) >= kLongRun;
  AttnDecodePlan plan{
      .config = with_decode_tiles(config, static_cast<int>(std::min<int64_t>(usual_rows, 32)),
                                  compute_capability, has_long_runs),
      .params = {}};
  plan.programs = emit_programs(problem);
  set_params(problem, plan.params);
  plan.params.o = result(outputs.o);
  plan.params.lse = {outputs.lse.data, outputs.lse.stride_batch, outputs.lse.stride_head};
  plan.params.num_rows = problem.q.batch * problem.q.seq * problem.q.heads;
  const int64_t blocks_of_multiprocessor =
      smem_of_multiprocessor(compute_capability) / (decode_smem_bytes(plan.config) + 1024);
  plan.params.num_splits = num_splits_of(
      divide_up(usual_rows, plan.config.block_q) * problem.k.heads * num_sequences,
      usual_keys(problem), num_multiprocessors * std::max<int64_t>(blocks_of_multiprocessor, 1),
      plan.config.block_k);
  const int64_t num_tiles = divide_up(problem.q.seq * group_of(problem), plan.config.block_q);
  plan.grid = {num_tiles * plan.params.num_splits, problem.k.heads, num_sequences};
  if (plan.params.num_splits > 1) {
    plan.combine = combine_config(plan.config);
    plan.combine_grid = {plan.params.num_rows, 1, 1};
  }
  return plan;
}

}  // namespace regard::gpu
