// Planner of sage_mean and sage_quantize: configs, parameters, grids and the workspace that holds
// the quantised operands. Touches no GPU, and reads none of the Problem's memory.
#pragma once

#include <cstddef>
#include <string>

#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// The quantised operands of a call, once set_workspace() has been told where they lie.
struct SageQuantizePlan {
  AttnConfig config{};       // of both kernels but for the number of warps
  AttnConfig mean_config{};  // of sage_mean
  SageParams params{};
  Grid grid{}, mean_grid{};  // the second empty where nothing of a whole sequence is needed

  size_t workspace_bytes() const;
  // `data`: workspace_bytes() bytes, 16-byte aligned.
  void set_workspace(void* data);

 private:
  friend SageQuantizePlan plan_sage_quantize(const Problem& problem);
  // Visits every array: visit(pointer, number of bytes).
  template <typename Visit>
  void for_each_array(const Visit& visit);

  int64_t num_sequences_ = 0, num_kv_heads_ = 0, k_len_ = 0, batch_ = 0;
  bool has_mean_ = false, has_value_scales_ = false, has_values_ = false;
};

// Bytes of shared memory of both kernels.
constexpr int sage_smem_bytes(const AttnConfig& config) { return 4 * config.num_threads(); }

// Empty when the operands of `problem` (validated, int8 scores) can be quantised on a GPU of this
// compute capability; else a sentence. `served`: bits of core::Feature beside the quantisation's.
std::string why_unsupported_sage_quantize(const Problem& problem, uint32_t served,
                                          int compute_capability);

SageQuantizePlan plan_sage_quantize(const Problem& problem);

}  // namespace regard::gpu
