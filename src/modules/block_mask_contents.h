// What a BlockMask owns, and how it is collected.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "regard/flex_attention.h"

namespace regard {

struct BlockMask::Contents {
  BlockMaskShape shape;
  std::vector<int32_t> row_offsets, columns;
  std::vector<uint8_t> is_full;
  int64_t num_rows = 0, num_columns = 0;  // of blocks
  int64_t num_masks = 1, stride_batch = 0, stride_head = 0;
  std::optional<Program> program;
  std::vector<ProgramTensor> tensors;
  std::vector<int32_t> spans;  // begin and end of each query, where the tensors are these
  MaskTensor dense_mask;
};

namespace block_masks {

// One block of one row of blocks while it is collected. Parts of a block come from several
// documents.
struct BlockPart {
  int32_t column = 0;
  bool sees_any = false, sees_all = false;
};
using BlockRows = std::vector<std::vector<BlockPart>>;

// Throws Error(invalid_argument) for lengths, block sizes and documents that are no shape; sets the
// counts of block rows and columns.
void set_shape(const BlockMaskShape& shape, BlockMask::Contents& contents);

// Appends one mask. Parts of the same block are joined: it is listed where any sees anything, full
// where all see all. Throws Error(invalid_argument) at 2^31 blocks.
void append_mask(BlockRows& rows, BlockMask::Contents& contents);

}  // namespace block_masks
}  // namespace regard
