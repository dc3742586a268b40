// Where the blocks of a block-diagonal mask lie, from the lengths that users give.
#pragma once

#include <vector>

#include "regard/xformers_block_diagonal.h"

namespace regard::xformers {

// All throw Error(invalid_argument) for lengths that contradict each other. Queries are packed;
// keys too (as queries where there are no lengths of theirs), or padded, or with gaps.
Blocks packed(Lengths q_seqlen, Lengths kv_seqlen);
Blocks padded(Lengths q_seqlen, int32_t kv_padding, Lengths kv_seqlen);
Blocks gappy(Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen);

// The blocks themselves, where bottom-right alignment, or a window from the top left, leaves no
// query without keys.
Blocks with_enough_keys(Blocks blocks);
Blocks with_reachable_keys(Blocks blocks, int64_t window_size);

// Parts of a row that is cut at `offsets`: for each size so many neighbouring blocks of one length.
std::vector<View> split_at(const std::vector<int32_t>& offsets, std::vector<int64_t> sizes,
                           const View& packed_tensor);

}  // namespace regard::xformers
