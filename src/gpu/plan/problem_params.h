// What every kernel's planner takes from a Problem: the parts of the config and of the parameters
// that do not depend on the kernel. Touches no GPU: a Problem over host memory is planned as well.
#pragma once

#include <cstdint>
#include <string>

#include "gpu/kernels/attn_config.h"
#include "gpu/kernels/attn_params.h"
#include "regard/problem.h"

namespace regard::gpu {

inline constexpr int64_t kMostGridBlocks = 65535;  // of y and z

// "head size 300: at most 256 on the GPU"
std::string limit_text(const char* name, int64_t value, int64_t limit);

// Empty when the GPU is Turing or newer, sizes of `problem` (validated) fit the parameters and
// `served` (bits of core::Feature) holds every feature in use; else a sentence.
std::string why_unplannable(const Problem& problem, uint32_t served, int compute_capability);

// The same for kernels on the matrix unit: f16, from Ampere on bf16, head sizes to 256.
std::string why_unplannable_mma(const Problem& problem, uint32_t served, int compute_capability);

// Element, head sizes and flags; is_vectorised as far as q, k and v decide it. Tiles, instructions
// and is_deterministic are left to the kernel's planner.
AttnConfig config_of(const Problem& problem);

// Whether every row of `view` lies in whole pieces of 16 bytes.
bool has_whole_pieces(const View& view);

// Fills in everything of ProblemParams.
void set_params(const Problem& problem, ProblemParams& params);

OperandView operand(const View& view);
ResultView result(const View& view);

// Rounded up to a multiple.
constexpr int round_up(int64_t value, int64_t multiple) {
  return static_cast<int>((value + multiple - 1) / multiple * multiple);
}

// Shared memory that one thread block may have, in bytes (CUDA C++ Programming Guide, "Compute
// Capabilities"). `compute_capability` as 10 * major + minor: 75, 80, 86, ...
constexpr int smem_limit_bytes(int compute_capability) {
  switch (compute_capability) {
    case 75:
      return 64 * 1024;
    case 80:
    case 87:
      return 163 * 1024;
    case 90:
    case 100:
    case 103:
    case 110:
      return 227 * 1024;
    default:  // 86, 89, 120, 121
      return 99 * 1024;
  }
}

}  // namespace regard::gpu
