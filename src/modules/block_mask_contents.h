// What a BlockMask owns.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "program/block_lists.h"
#include "regard/flex_attention.h"

namespace regard {

struct BlockMask::Contents {
  BlockMaskShape shape;
  program::BlockLists blocks;
  std::optional<Program> program;
  std::vector<ProgramTensor> tensors;
  std::vector<int32_t> spans;  // begin and end of each query, where the tensors are these
  MaskTensor dense_mask;
};

namespace block_masks {

// Throws Error(invalid_argument) for lengths, block sizes and documents that are no shape; sets the
// counts of block rows and columns.
void set_shape(const BlockMaskShape& shape, BlockMask::Contents& contents);

}  // namespace block_masks
}  // namespace regard
