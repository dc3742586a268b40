// Planner of attn_bwd_mma and the kernels around it: which Problems they serve, configs, parameters
// and grids of the launches. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "gpu/kernels/attn_bwd_layout.h"
#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// Head sizes as the backward's tiles have them: beyond 64 columns two warps share them.
constexpr int bwd_dim(int dim, int largest) {
  const int multiple = largest <= 64 ? 16 : 32;
  return (dim + multiple - 1) / multiple * multiple;
}

// Fills in block sizes and instructions of attn_bwd_mma: `config` has element, head_dim, value_dim
// and flags. Sums of dK and dV take key_tiles * (head_dim + value_dim) / (2 * column_parts) of a
// lane's 255 registers, one slice of S and dP key_tiles * slice_q.
constexpr AttnConfig with_bwd_tiles(AttnConfig config, int compute_capability) {
  const bool is_turing = compute_capability < 80;
  const int smem_bytes = smem_limit_bytes(compute_capability);
  const int largest = config.head_dim > config.value_dim ? config.head_dim : config.value_dim;
  config.product = is_turing ? MatrixProduct::m16n8k8 : MatrixProduct::m16n8k16;
  config.copies_async = !is_turing;
  config.head_dim = bwd_dim(config.head_dim, largest);
  config.value_dim = bwd_dim(config.value_dim, largest);
  const bool is_large = smem_bytes > 160 * 1024, is_huge = smem_bytes > 200 * 1024;
  config.num_warps = 4;
  config.column_parts = largest <= 64 ? 1 : 2;
  config.num_stages = is_turing ? 1 : 2;
  if (largest <= 64) {
    config.block_k = is_turing ? 64 : 128;
    config.block_q = is_turing || is_large ? 64 : 32;
    config.slice_q = is_turing ? 64 : 32;
  } else if (largest <= 128) {
    config.num_warps = is_large ? 8 : 4;
    config.block_k = is_large ? 128 : 64;
    config.block_q = is_turing || (is_large && !is_huge) ? 32 : 64;
    config.num_stages = is_large ? 2 : 1;
    config.slice_q = config.block_q / 2;
  } else {
    config.num_warps = is_large ? 8 : is_turing && largest > 192 ? 2 : 4;
    config.block_k = 8 * config.num_warps;
    config.block_q = is_large ? 64 : 32;
    config.num_stages = 1;
    config.slice_q = config.block_q / 2;
  }
  return config;
}

// The same of attn_bwd_dq_mma. Sums of dQ take row_tiles * head_dim / 2 registers, S and dP
// row_tiles * block_k.
constexpr AttnConfig with_dq_tiles(AttnConfig config, int compute_capability) {
  const bool is_turing = compute_capability < 80;
  const int largest = config.head_dim > config.value_dim ? config.head_dim : config.value_dim;
  const bool is_large = smem_limit_bytes(compute_capability) > 160 * 1024;
  config.product = is_turing ? MatrixProduct::m16n8k8 : MatrixProduct::m16n8k16;
  config.copies_async = !is_turing;
  config.num_warps = 4;
  config.block_q = 64;
  config.num_stages = is_large ? 2 : 1;
  if (largest <= 64 || (largest <= 128 && !is_turing)) {
    config.block_q = 128;
    config.block_k = 32;
  } else if (largest <= 128) {
    config.block_k = 32;
  } else if (is_turing) {
    config.num_warps = 2;
    config.block_q = 32;
    config.block_k = 16;
  } else {
    config.block_k = is_large ? 32 : 16;
  }
  return config;
}

// Of the kernels around it: what their text does not look at would only compile it again.
constexpr AttnConfig delta_config(const AttnConfig& tiles) {
  return {.element = tiles.element,
          .head_dim = tiles.head_dim,
          .value_dim = tiles.value_dim,
          .is_vectorised = tiles.is_vectorised,
          .is_packed = tiles.is_packed,
          .has_lengths = tiles.has_lengths,
          .is_deterministic = tiles.is_deterministic};
}
constexpr AttnConfig convert_config(const AttnConfig& tiles) {
  return {.head_dim = tiles.head_dim,
          .block_q = tiles.block_q,
          .num_warps = tiles.num_warps,
          .is_packed = tiles.is_packed,
          .has_lengths = tiles.has_lengths};
}
constexpr AttnConfig clear_config() { return {.num_warps = 8}; }

// Empty when these kernels compute the gradients that `tensors` asks for of `problem` (both
// validated) on a GPU of this compute capability; else a sentence with the value and the limit.
std::string why_unsupported_attn_bwd_mma(const Problem& problem, const BackwardTensors& tensors,
                                         int compute_capability);

// One kernel of the backward; all share the parameters.
struct BwdLaunch {
  const char* stem;
  AttnConfig config;
  int smem_bytes;
  Grid grid;
  int pass = 0;  // AttnBwdParams::pass
};

struct AttnBwdPlan {
  AttnBwdParams params;
  std::vector<BwdLaunch> launches;  // in order
  std::string programs{};           // text of programs.cuh; empty: no programs
  size_t workspace_bytes = 0;       // place_workspace gives the memory
  size_t terms_offset = 0;          // of GradientTerms::sums in it
};

// What every backward of the GPU engine shares: the parameters but for the workspace, the kernels
// that run first, and the workspace's size with so many floats a row.
void set_bwd_params(const Problem& problem, const BackwardTensors& tensors, AttnBwdParams& params);
void add_row_launches(const Problem& problem, const BackwardTensors& tensors,
                      const AttnConfig& config, AttnBwdPlan& plan);
size_t bwd_workspace_bytes(const AttnBwdParams& params, int64_t floats_of_row);

// The problem must be supported. With `is_deterministic` no result depends on the order in which
// thread blocks run; documents with lengths of their own always take that way.
AttnBwdPlan plan_attn_bwd_mma(const Problem& problem, const BackwardTensors& tensors,
                              int compute_capability, bool is_deterministic);

// `workspace`: workspace_bytes, 256-byte aligned; what it holds does not matter.
void place_workspace(AttnBwdPlan& plan, void* workspace);

}  // namespace regard::gpu
