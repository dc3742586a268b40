#include "gpu/plan/sage_quantize.h"

#include <algorithm>

#include "core/features.h"
#include "core/int8_groups.h"
#include "core/sequences.h"

namespace regard::gpu {
namespace {

constexpr int64_t kQueryBlock = 32, kKeyBlock = 64;  // kScaleQueries, kScaleKeys
constexpr int64_t kQueryScales = 8, kKeyScales = 4;
constexpr int64_t kQueriesOfBlock = 128;  // that a thread block quantises

constexpr int64_t divide_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

// Blocks of scales of all sequences (first_scale_block() of kernels/sage_operands.cuh).
int64_t num_blocks(const Problem& problem, int64_t rows, int64_t block) {
  const int64_t num_sequences = core::num_sequences(problem);
  return core::is_packed(problem) ? rows / block + num_sequences
                                  : num_sequences * divide_up(rows, block);
}

// [B, H, S, num_elements], contiguous.
ResultView contiguous(const View& view, int64_t num_elements) {
  return {nullptr, view.heads * view.seq * num_elements, num_elements, view.seq * num_elements};
}

}  // namespace

std::string why_unsupported_sage_quantize(const Problem& problem, uint32_t served,
                                          int compute_capability) {
  if (problem.quantization.scores != ScoreFormat::int8) {
    return "exact scores: the int8 kernels of the GPU engine serve quantised ones only";
  }
  if (compute_capability < 80) {
    return "compute capability " + std::to_string(compute_capability) +
           ": int8 scores need 80 (Ampere) or newer";
  }
  served |= core::bit(core::Feature::int8_scores) | core::bit(core::Feature::rounded_values);
  if (std::string reason = why_unplannable_mma(problem, served, compute_capability);
      !reason.empty()) {
    return reason;
  }
  const int64_t heads = problem.q.heads + problem.k.heads;
  return heads > kMostGridBlocks
             ? limit_text("number of query and key heads", heads, kMostGridBlocks)
             : "";
}

template <typename Visit>
void SageQuantizePlan::for_each_array(const Visit& visit) {
  SageParams& p = params;
  const int64_t num_queries = batch_ * p.num_heads * p.q_len;
  const int64_t num_keys = batch_ * num_kv_heads_ * k_len_;
  visit(p.q_int8.data, num_queries * config.head_dim);
  visit(p.k_int8.data, num_keys * config.head_dim);
  visit(p.v_rounded.data, has_values_ ? num_keys * config.value_dim * 2 : 0);
  visit(p.q_scales, p.num_heads * p.num_query_blocks * kQueryScales * 4);
  visit(p.k_scales, num_kv_heads_ * p.num_key_blocks * kKeyScales * 4);
  visit(p.mean, has_mean_ ? num_sequences_ * num_kv_heads_ * config.head_dim * 4 : 0);
  visit(p.shifts, has_mean_ ? num_queries * 4 : 0);
  visit(p.value_scales,
        has_value_scales_ ? num_sequences_ * num_kv_heads_ * config.value_dim * 4 : 0);
}

size_t SageQuantizePlan::workspace_bytes() const {
  size_t total = 0;
  SageQuantizePlan copy = *this;
  copy.for_each_array([&](auto*&, int64_t num_bytes) {
    total += static_cast<size_t>(divide_up(num_bytes, 16) * 16);
  });
  return total;
}

void SageQuantizePlan::set_workspace(void* data) {
  auto* next = static_cast<char*>(data);
  for_each_array([&](auto*& pointer, int64_t num_bytes) {
    pointer =
        num_bytes == 0
            ? nullptr
            : static_cast<std::remove_reference_t<decltype(pointer)>>(static_cast<void*>(next));
    next += divide_up(num_bytes, 16) * 16;
  });
}

SageQuantizePlan plan_sage_quantize(const Problem& problem) {
  const Quantization& quantization = problem.quantization;
  SageQuantizePlan plan;
  const AttnConfig common = config_of(problem);
  plan.config = {.element = common.element,
                 .head_dim = round_up(problem.q.dim, 32),
                 .value_dim = common.value_dim,
                 .num_warps = 4,
                 .is_vectorised = common.is_vectorised,
                 .is_packed = common.is_packed};
  plan.mean_config = plan.config;
  plan.mean_config.num_warps = 32;
  SageParams& params = plan.params;
  set_params(problem, params);
  params.q_int8 = contiguous(problem.q, plan.config.head_dim / 2);
  params.k_int8 = contiguous(problem.k, plan.config.head_dim / 2);
  params.v_rounded = contiguous(problem.v, plan.config.value_dim);
  params.num_query_blocks = num_blocks(problem, problem.q.seq, kQueryBlock);
  params.num_key_blocks = num_blocks(problem, problem.k.seq, kKeyBlock);
  params.query_group_rows = quantization.groups == ScaleGroups::per_thread
                                ? 0
                                : static_cast<int>(core::query_block(quantization.groups));
  plan.batch_ = problem.q.batch;
  plan.k_len_ = problem.k.seq;
  plan.num_kv_heads_ = problem.k.heads;
  plan.num_sequences_ = core::num_sequences(problem);
  plan.has_mean_ = quantization.smooth_k;
  plan.has_value_scales_ = quantization.values == ValueFormat::f8_e4m3;
  plan.has_values_ = quantization.values != ValueFormat::exact;
  plan.grid = {
      std::max(divide_up(problem.q.seq, kQueriesOfBlock), divide_up(problem.k.seq, kKeyBlock)),
      problem.q.heads + problem.k.heads, plan.num_sequences_};
  const int64_t key_slices = plan.config.head_dim / 32;
  const int64_t value_slices = plan.has_value_scales_ ? divide_up(problem.v.dim, 32) : 0;
  if (plan.has_mean_ || plan.has_value_scales_) {
    plan.mean_grid = {key_slices + value_slices, problem.k.heads, plan.num_sequences_};
  }
  return plan;
}

}  // namespace regard::gpu
