#include "gpu/plan/attn_fwd_mma.h"

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "core/features.h"
#include "core/sequences.h"

namespace regard::gpu {
namespace {

constexpr int64_t kMostGridBlocks = 65535;  // of y and z
constexpr double kLog2E = 1.4426950408889634;

constexpr int round_up(int64_t value, int64_t multiple) {
  return static_cast<int>((value + multiple - 1) / multiple * multiple);
}

std::string limit_text(const char* name, int64_t value, int64_t limit) {
  return std::string(name) + " " + std::to_string(value) + ": at most " + std::to_string(limit) +
         " on the GPU";
}

// Every row in whole pieces of 16 bytes: the address of each and its length are multiples.
bool has_whole_pieces(const View& view) {
  const auto address = reinterpret_cast<uintptr_t>(view.data);
  const bool is_empty = view.batch == 0 || view.seq == 0 || view.heads == 0;
  return is_empty || (address % 16 == 0 && view.dim % 8 == 0 && view.stride_batch % 8 == 0 &&
                      view.stride_seq % 8 == 0 && view.stride_head % 8 == 0);
}

OperandView operand(const View& view) {
  return {static_cast<const unsigned short*>(view.data), view.stride_batch, view.stride_seq,
          view.stride_head};
}

// Causal is a window that ends at the query's own key.
void set_limits(const Problem& problem, AttnFwdParams& params) {
  const auto bound = [](int64_t count) {
    return count < 0 || count > kUnbounded ? kUnbounded : static_cast<int>(count);
  };
  params.left = bound(problem.window.left);
  params.right = problem.causal == Causal::none ? bound(problem.window.right) : 0;
  params.is_upper_left = problem.causal == Causal::upper_left ? 1 : 0;
}

AttnConfig config_of(const Problem& problem, const ForwardOutputs& outputs,
                     int compute_capability) {
  AttnConfig config{
      .element = problem.q.dtype == DType::bf16 ? Element::bf16 : Element::f16,
      .head_dim = round_up(problem.q.dim, 16),
      .value_dim = round_up(problem.v.dim, 16),
      .is_vectorised = has_whole_pieces(problem.q) && has_whole_pieces(problem.k) &&
                       has_whole_pieces(problem.v) && has_whole_pieces(outputs.o),
      .has_limits =
          problem.causal != Causal::none || problem.window.left >= 0 || problem.window.right >= 0,
      .has_softcap = problem.softcap != 0.0f,
      .has_alibi = problem.alibi.slopes != nullptr,
      .is_packed = core::is_packed(problem),
  };
  return with_tiles(config, compute_capability);
}

}  // namespace

std::string why_unsupported_attn_fwd_mma(const Problem& problem, int compute_capability) {
  if (compute_capability < 75) {
    return "compute capability " + std::to_string(compute_capability) +
           ": needs 75 (Turing) or newer";
  }
  if (const char* feature = core::first_unserved(problem, 0)) {
    return std::string(feature) + ": the GPU engine does not serve it yet";
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
  if (problem.q.dim == 0 || problem.v.dim == 0) {
    return "head size 0: must be 1 to 256 on the GPU";
  }
  if (problem.q.seq > kUnbounded || problem.k.seq > kUnbounded) {
    return limit_text("sequence length", std::max(problem.q.seq, problem.k.seq), kUnbounded);
  }
  if (problem.q.heads > kMostGridBlocks) {
    return limit_text("number of query heads", problem.q.heads, kMostGridBlocks);
  }
  if (core::num_sequences(problem) > kMostGridBlocks) {
    return limit_text("number of sequences", core::num_sequences(problem), kMostGridBlocks);
  }
  return "";
}

AttnFwdPlan plan_attn_fwd_mma(const Problem& problem, const ForwardOutputs& outputs,
                              int compute_capability) {
  AttnFwdPlan plan{.config = config_of(problem, outputs, compute_capability), .params = {}};
  AttnFwdParams& params = plan.params;
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.o = {static_cast<unsigned short*>(outputs.o.data), outputs.o.stride_batch,
              outputs.o.stride_seq, outputs.o.stride_head};
  params.lse = outputs.lse.data;
  params.lse_stride_batch = outputs.lse.stride_batch;
  params.lse_stride_head = outputs.lse.stride_head;
  params.q_offsets = problem.documents.q_offsets;
  params.k_offsets = problem.documents.k_offsets;
  params.slopes = problem.alibi.slopes;
  params.slopes_stride_batch = problem.alibi.stride_batch;
  params.q_len = static_cast<int>(problem.q.seq);
  params.k_len = static_cast<int>(problem.k.seq);
  params.head_dim = static_cast<int>(problem.q.dim);
  params.value_dim = static_cast<int>(problem.v.dim);
  params.heads_per_kv_head =
      problem.k.heads == 0 ? 1 : static_cast<int>(problem.q.heads / problem.k.heads);
  set_limits(problem, params);
  const double scale =
      problem.scale != 0.0f ? problem.scale : 1.0 / std::sqrt(static_cast<double>(problem.q.dim));
  const bool has_softcap = problem.softcap != 0.0f;
  params.score_factor = static_cast<float>(has_softcap ? scale / problem.softcap : scale * kLog2E);
  params.softcap_log2 = static_cast<float>(problem.softcap * kLog2E);
  plan.grid_x = (problem.q.seq + plan.config.block_q - 1) / plan.config.block_q;
  plan.grid_y = problem.q.heads;
  plan.grid_z = core::num_sequences(problem);
  return plan;
}

}  // namespace regard::gpu
