#include "tests/support/visible_pairs.h"

#include <algorithm>

#include "core/mask.h"

namespace regard::testing {
namespace {

bool mask_tensor_allows(const MaskTensor& mask, int64_t batch, int64_t head, int64_t query,
                        int64_t key) {
  return mask.data == nullptr || mask.data[batch * mask.stride_batch + head * mask.stride_head +
                                           query * mask.stride_q + key * mask.stride_k] != 0;
}

bool block_mask_allows(const BlockMaskView& mask, int64_t batch, int64_t head, int64_t query,
                       int64_t key) {
  if (mask.row_offsets == nullptr) {
    return true;
  }
  const int32_t* row = mask.row_offsets +
                       (batch * mask.stride_batch + head * mask.stride_head) * mask.num_rows +
                       query / mask.block_q;
  const int32_t* columns = mask.columns;
  return std::find(columns + row[0], columns + row[1], key / mask.block_k) != columns + row[1];
}

}  // namespace

bool sees(const Problem& problem, const core::Sequence& sequence, int64_t head, int64_t query,
          int64_t key) {
  const int64_t batch = sequence.batch;
  const int64_t row_query = sequence.q_begin + query, row_key = sequence.k_begin + key;
  return core::key_interval(problem, sequence, head, query).contains(key) &&
         mask_tensor_allows(problem.mask, batch, head, row_query, row_key) &&
         block_mask_allows(problem.block_mask, batch, head, row_query, row_key);
}

}  // namespace regard::testing
