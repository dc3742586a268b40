// The blocks of pairs that a mask program leaves, found without asking every pair.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/problem.h"

namespace regard::program {

// A part of one block; parts of the same block come from several documents.
struct BlockPart {
  int32_t column = 0;
  bool sees_any = false, sees_all = false;
};

// What a BlockMaskView views. Blocks count over the whole batch row.
struct BlockLists {
  int32_t block_q = 0, block_k = 0;
  int64_t num_rows = 0, num_columns = 0;
  int64_t num_masks = 0, stride_batch = 0, stride_head = 0;
  std::vector<int32_t> row_offsets{0};
  std::vector<int32_t> columns;
  std::vector<uint8_t> is_full;

  // Sets the counts of block rows and columns of a call of q_len queries and k_len keys.
  void set_blocks(int64_t q_len, int64_t k_len, int32_t rows_of_block, int32_t keys_of_block);
  // Appends one mask. A block is listed where any part sees anything, full where all see all.
  // Empties the rows. Throws Error(invalid_argument) at 2^31 blocks.
  void append(std::vector<std::vector<BlockPart>>& rows);
  BlockMaskView view() const;
};

// exact: blocks that intervals do not decide are asked pair by pair until they are. bounds: they
// are partial, which costs a back end more and making the lists less.
enum class Decision : uint8_t { exact, bounds };

// The blocks of problem.mask_program over the sequences of the problem; masks are made once for all
// batch rows and heads where the program does not depend on them. The problem is valid; documents
// have no lengths of their own and nothing is paged.
BlockLists block_lists_of(const Problem& problem, int32_t block_q, int32_t block_k,
                          Decision decision);

}  // namespace regard::program
