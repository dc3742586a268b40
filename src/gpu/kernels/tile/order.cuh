// The order in which thread blocks start: those with most work first, as far as the operands they
// share stay in the second-level cache.
#pragma once

#include "platform.cuh"

namespace regard::gpu {

struct BlockPlace {
  int block, head;
};

// Of this thread block in grid.x = num_blocks * num_heads: heads come in sections of
// `heads_per_section`, and of a section every head's first block, then every head's second, ...
REGARD_DEVICE BlockPlace block_place(int num_blocks, int num_heads, int heads_per_section) {
  const int section = block_x() / (num_blocks * heads_per_section);
  const int first_head = section * heads_per_section;
  const int rest = block_x() - first_head * num_blocks;
  const int heads_left = num_heads - first_head;
  const int num_section_heads = heads_left < heads_per_section ? heads_left : heads_per_section;
  return {rest / num_section_heads, first_head + rest % num_section_heads};
}

}  // namespace regard::gpu
