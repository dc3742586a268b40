// From a plan's grid and a relocated problem to a launch on the emulator.
#pragma once

#include <vector>

#include "gpu/plan/grid.h"
#include "tests/gpu/emulator/emulator.h"
#include "tests/gpu/relocated_problem.h"

namespace regard::testing {

inline std::vector<MemoryRange> memory_of(const RelocatedProblem& relocated) {
  std::vector<MemoryRange> memory;
  for (const RelocatedProblem::Piece& piece : relocated.pieces()) {
    memory.push_back({piece.there, piece.num_bytes, piece.is_result});
  }
  return memory;
}

inline Launch emulated_launch(const gpu::Grid& grid, int num_threads, int smem_bytes,
                              const std::vector<MemoryRange>& memory) {
  return {.grid_x = static_cast<int>(grid.x),
          .grid_y = static_cast<int>(grid.y),
          .grid_z = static_cast<int>(grid.z),
          .num_threads = num_threads,
          .smem_bytes = smem_bytes,
          .memory = memory};
}

}  // namespace regard::testing
