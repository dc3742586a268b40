#include "gpu/plan/attn_bwd_terms.h"

#include <algorithm>
#include <array>

#include "core/sequences.h"
#include "gpu/plan/attn_bwd_simt.h"

namespace regard::gpu {
namespace {

// Integers hold 63 bits and a sign.
int bits_of_sum(int64_t num_summands) {
  int bits = 62;
  for (; num_summands > 1; num_summands /= 2) {
    --bits;
  }
  return bits - 1;
}

int64_t num_elements(const ProgramTensor& tensor) {
  int64_t count = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) {
    count *= tensor.shape[axis];
  }
  return count;
}

// Elements and summands of each term; a term that nobody asked for has none.
struct TermSizes {
  int64_t elements = 0, summands = 1;
};

TermSizes set_bias(const Problem& problem, const BiasGradient& d_bias, GradientTerms& terms) {
  const View &q = problem.q, &k = problem.k;
  const std::array<int64_t, 4> strides = {d_bias.stride_batch, d_bias.stride_head, d_bias.stride_q,
                                          d_bias.stride_k};
  const std::array<int64_t, 4> lengths = {q.batch, q.heads, q.seq, k.seq};
  TermSizes sizes{.elements = 1};
  for (size_t axis = 0; axis < 4; ++axis) {
    terms.bias_stride[axis] = strides[axis];
    terms.bias_extent[axis] = strides[axis] == 0 ? 1 : lengths[axis];
    sizes.elements *= terms.bias_extent[axis];
    sizes.summands *=
        std::max<int64_t>(lengths[axis] / std::max<int64_t>(terms.bias_extent[axis], 1), 1);
  }
  const bool owns = (strides[0] != 0 || q.batch == 1) && (strides[1] != 0 || q.heads == 1) &&
                    strides[2] != 0 && strides[3] != 0;
  terms.results[kBiasTerm] = d_bias.data;
  terms.owns_bias = owns ? 1 : 0;
  return owns ? TermSizes{} : sizes;
}

std::array<TermSizes, kNumTerms> set_results(const Problem& problem, const BackwardTensors& tensors,
                                             GradientTerms& terms) {
  const int64_t pairs = problem.q.batch * problem.q.seq * problem.k.seq;
  std::array<TermSizes, kNumTerms> sizes{};
  if (tensors.d_bias.data != nullptr) {
    sizes[kBiasTerm] = set_bias(problem, tensors.d_bias, terms);
  }
  if (tensors.d_slopes != nullptr) {
    terms.results[kSlopesTerm] = tensors.d_slopes;
    terms.slopes_of_batch = problem.alibi.stride_batch != 0 ? 1 : 0;
    sizes[kSlopesTerm] = {problem.q.heads * (terms.slopes_of_batch != 0 ? problem.q.batch : 1),
                          pairs};
  }
  const BoundProgram& program = problem.score_program;
  for (int i = 0; tensors.d_tensors != nullptr && i < program.num_tensors; ++i) {
    if (tensors.d_tensors[i] != nullptr) {
      constexpr int64_t kMostReads = 64;  // of one tensor by one pair
      const auto term = static_cast<size_t>(kFirstTensorTerm) + static_cast<size_t>(i);
      terms.results[term] = tensors.d_tensors[i];
      sizes[term] = {num_elements(program.tensors[i]), pairs * problem.q.heads * kMostReads};
    }
  }
  terms.d_sink = tensors.d_sink;
  return sizes;
}

constexpr AttnConfig end_config() { return {.num_warps = 8}; }

constexpr AttnConfig sink_config(const AttnConfig& config) {
  return {.num_warps = 8, .is_packed = config.is_packed, .has_lengths = config.has_lengths};
}

}  // namespace

void add_term_launches(const Problem& problem, const BackwardTensors& tensors,
                       int compute_capability, AttnBwdPlan& plan) {
  GradientTerms& terms = plan.params.terms;
  const std::array<TermSizes, kNumTerms> sizes = set_results(problem, tensors, terms);
  for (size_t term = 0; term < kNumTerms; ++term) {
    terms.first_sum[term + 1] = terms.first_sum[term] + sizes[term].elements;
    terms.sum_bits[term] = bits_of_sum(sizes[term].summands);
  }
  const int64_t num_sums = terms.first_sum[kNumTerms];
  const AttnConfig unplanned = simt_bwd_config(problem, tensors);
  if (num_sums > 0 || terms.owns_bias != 0) {
    const AttnConfig tiles = with_simt_dq_tiles(unplanned, compute_capability);
    const AttnConfig end = end_config();
    const long long(&extent)[4] = terms.bias_extent;
    const int64_t owned = terms.owns_bias != 0 ? extent[0] * extent[1] * extent[2] * extent[3] : 0;
    const int64_t elements = std::max<int64_t>({num_sums, owned, 1});
    const Grid end_grid{std::min<int64_t>((elements - 1) / end.num_threads() + 1, 4096), 1, 1};
    const Grid grid{(problem.q.seq + tiles.block_q - 1) / tiles.block_q,
                    problem.k.seq == 0 ? 0 : problem.q.heads, core::num_sequences(problem)};
    const int smem_bytes = query_gradient_layout(tiles).smem_bytes();
    plan.launches.push_back({"attn_bwd_terms_end", end, 0, end_grid, 0});
    if (num_sums > 0) {
      plan.launches.push_back({"attn_bwd_terms", tiles, smem_bytes, grid, 0});
    }
    plan.launches.push_back({"attn_bwd_terms", tiles, smem_bytes, grid, 1});
    plan.launches.push_back({"attn_bwd_terms_end", end, 0, end_grid, 1});
    plan.terms_offset = (plan.workspace_bytes + 255) / 256 * 256;
    plan.workspace_bytes = plan.terms_offset + static_cast<size_t>(num_sums) * sizeof(*terms.sums) +
                           kNumTerms * sizeof(*terms.largest);
  }
  if (terms.d_sink != nullptr) {
    const AttnConfig config = sink_config(unplanned);
    plan.launches.push_back({"attn_bwd_sink",
                             config,
                             static_cast<int>(sizeof(float)) * config.num_warps,
                             {problem.q.heads, 1, 1}});
  }
}

}  // namespace regard::gpu
