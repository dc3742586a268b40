// A block mask for problems that have a mask program and none.
#pragma once

#include <cstdint>

#include "program/block_lists.h"
#include "regard/problem.h"

namespace regard::cpu {

// Blocks of 64 x 64 pairs, bounded by intervals: at most a tenth of what computing them costs where
// nothing can be decided, and a causal program becomes twice as fast, a window of 256 of 2048 keys
// five times.
class ProgramBlocks {
 public:
  explicit ProgramBlocks(const Problem& problem) : problem_(problem) {
    if (!is_wanted(problem)) {
      return;
    }
    int32_t block = kBlock;
    while (num_blocks(problem, block) > kMostBlocks) {
      block *= 2;
    }
    lists_ = program::block_lists_of(problem, block, block, program::Decision::bounds);
    problem_.block_mask = lists_.view();
  }
  ProgramBlocks(const ProgramBlocks&) = delete;
  ProgramBlocks& operator=(const ProgramBlocks&) = delete;

  // The problem with the block mask; the kernels skip what is masked and ask the program in partial
  // blocks only.
  const Problem& problem() const { return problem_; }

 private:
  static constexpr int32_t kBlock = 64;
  static constexpr int64_t kMostBlocks = int64_t{1} << 26;  // 320 MiB of lists

  static bool is_wanted(const Problem& problem) {
    const Documents& documents = problem.documents;
    return problem.mask_program.program != nullptr && problem.block_mask.row_offsets == nullptr &&
           problem.pages.table == nullptr && documents.q_lengths == nullptr &&
           documents.k_lengths == nullptr;
  }
  static int64_t num_blocks(const Problem& problem, int64_t block) {
    return (problem.q.seq / block + 1) * (problem.k.seq / block + 1) * problem.q.heads *
           problem.q.batch;
  }

  Problem problem_;
  program::BlockLists lists_;
};

}  // namespace regard::cpu
